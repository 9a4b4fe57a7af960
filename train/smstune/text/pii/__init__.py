"""A message in, the personal information in it out, or the message with placeholders.

Order: placeholders, rule, digits, folding, numbers, accounts, addresses, codes, money, find, mask.
"""
