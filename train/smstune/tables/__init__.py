"""A user's file in, its rows out; answers in, a file out.

Order: row, row_problems, options, times, json_text, formulas, labels, decoding, header, formats,
read, column_types, write.
"""
