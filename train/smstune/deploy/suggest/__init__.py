"""A run and unlabelled messages in; those that are worth labelling next out."""
