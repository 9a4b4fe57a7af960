"""From a run folder to its users."""
