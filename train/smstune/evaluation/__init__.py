"""A run and labelled messages in, scores and reports out.

Order: labelled, scores, comparison, calibration, robustness, mistakes, drift, report, run.
"""
