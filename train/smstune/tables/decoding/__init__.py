"""A file in any packing and encoding in, its text out, and what it is by its first bytes."""
