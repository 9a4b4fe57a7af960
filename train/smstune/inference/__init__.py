"""A run folder in, answers to messages out.

Order: labels, linear, decision, origin, manifest, tokenization, run, fetch, backends, classifier.
"""
