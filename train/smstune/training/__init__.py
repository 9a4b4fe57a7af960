"""A prepared folder and a configuration in, a run folder out."""
