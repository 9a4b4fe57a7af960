"""A run folder in, answers to messages out.

Order: labels, linear, decision, manifest, tokenization, run, fetch, backends, classifier.
"""
