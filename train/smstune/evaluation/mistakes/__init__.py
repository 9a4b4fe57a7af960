"""Answers and truth in, the most telling mistakes and the tokens behind them out."""
