"""A run and labelled messages in, scores and reports out.

Order: evaluated, labelled, scores, comparison, calibration, robustness, mistakes, metrics,
drift, recalibration, report, run.
"""
