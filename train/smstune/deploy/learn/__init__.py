"""A run and reported messages in, the next generation of the run's memory out."""
