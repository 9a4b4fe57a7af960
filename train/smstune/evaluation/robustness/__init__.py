"""A run and labelled messages in, its scores on evasive rewrites of them out."""
