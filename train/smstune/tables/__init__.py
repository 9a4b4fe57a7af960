"""A user's file in, its rows out; answers in, a file out."""
