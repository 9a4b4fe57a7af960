"""A raw message in, the text that the model reads out.

Order: variants, pii, normalize, evasion.
"""
