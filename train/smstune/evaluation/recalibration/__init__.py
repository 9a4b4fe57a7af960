"""A run and new messages in, a sheet out; the labelled sheet in, certified operating points out.

Order: sheet, draw, points, tables.
"""
