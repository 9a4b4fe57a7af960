"""One YAML file and overrides in, a frozen configuration out, or every error in it at once."""
