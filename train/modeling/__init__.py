"""Models, losses, and the run folder that everything downstream loads."""
