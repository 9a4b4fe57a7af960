"""A run folder in, answers to messages out.

Order: labels, ngrams, linear, cascade, decision, origin, tokenization, manifest, run, run_config,
backends, hub, fetch, classifier.
"""
