"""A run and a file of messages in, a file of answers out."""
