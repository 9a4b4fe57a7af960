"""Finds the personal information in a message, or replaces it by placeholders.

Order: placeholders, rule, digits, folding, numbers, accounts, addresses, codes, money, find, mask.
"""
