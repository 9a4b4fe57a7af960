"""Evaluated runs in, the significance of their differences out."""
