"""A raw message in, the text that the model reads out.

Order: variants, opt_out, pii, normalize, probes, evasion.
"""
