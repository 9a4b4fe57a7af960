"""A run folder in, answers to messages out.

Order: labels, linear, decision, origin, tokenization, manifest, run, fetch, backends, classifier.
"""
