"""Scores in, report.html, report.md and the table of the terminal out."""
