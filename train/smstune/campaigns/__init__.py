"""Texts in, the campaign of each out: groups of near-duplicate messages."""
