"""A public corpus or a table in, raw rows out: one file for each corpus."""
