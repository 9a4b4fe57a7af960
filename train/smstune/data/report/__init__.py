"""A prepared folder in, its report out: counts, shortcuts, doubtful labels."""
