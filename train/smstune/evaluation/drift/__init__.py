"""A run and new messages in, how they differ from its own data out."""
