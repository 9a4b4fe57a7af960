"""A YAML file and overrides in, a frozen configuration out, or all of its errors at once."""
