"""A run and outgoing messages in, a self-inspection report out."""
