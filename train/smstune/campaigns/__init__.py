"""Texts in, for each its campaign out: the near-duplicates of one message."""
