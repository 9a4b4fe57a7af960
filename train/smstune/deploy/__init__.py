"""A run folder in; what is made of it out. Its rooms do not see each other."""
