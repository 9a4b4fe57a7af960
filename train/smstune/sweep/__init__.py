"""A configuration and what to vary in it in, one run folder for each variant and seed out."""
