"""Bundled sample of invented Chinese SMS: templates, the builder and the built messages."""
