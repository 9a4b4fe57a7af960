"""Probabilities, answers and truth in, scores and their intervals out."""
