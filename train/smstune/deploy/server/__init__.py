"""A run in, answers over HTTP out."""
