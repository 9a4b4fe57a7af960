"""A run folder in, answers to messages out.

Order: label_files, label_names, labels, ngrams, linear, cascade, decision, origin, tokenization,
manifest, run, run_config, memory, backends, hub, fetch, classifier.
"""
