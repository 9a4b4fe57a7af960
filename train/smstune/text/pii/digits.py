"""Digits, Arabic and Chinese, the separators between them, and check sums."""

from __future__ import annotations

import re
from datetime import date

CHINESE_DIGITS = "〇零一二三四五六七八九幺壹贰貳叁參肆伍陆陸柒捌玖"
#: 參 is 参 in simplified Chinese, which is also a word: a digit only among other digits.
SPELT_DIGITS = f"{CHINESE_DIGITS}参"
TO_ARABIC = str.maketrans(SPELT_DIGITS, "0012345678911223345667893")
CHINESE_UNITS = "两几十百千万亿拾佰仟萬億"

#: One separator between two digits, possibly with a blank on either side, or one or two blanks. A
#: text matches in exactly one way: two ways would take 2^n steps for a run of n digits.
ONE_SEPARATOR = r"(?:[ ]?[-‐‑–—_.·•~～*|][ ]?|[ ]{1,2})"
SEPARATOR = f"{ONE_SEPARATOR}?"
#: A further digit of a number.
NEXT_DIGIT = f"{SEPARATOR}[0-9]"
NOT_DIGITS = re.compile("[^0-9]+")
#: The rules for long numbers are tried only on a text that contains this.
FIVE_DIGITS = rf"[0-9](?:{NEXT_DIGIT}){{4}}"

#: Five digits with anything between them.
FIVE_DIGITS_APART = "[0-9](?:[^0-9]{0,3}[0-9]){4}"

_IDENTITY = re.compile("[1-8][0-9]{16}[0-9x]")
_CARD = re.compile("[3-6][0-9]{15,18}")
_CALLED = re.compile(
    "1[3-9][0-9]{9}|0(?:10|2[0-9]|[3-9][0-9]{2})[2-8][0-9]{6,7}|[48]00[0-9]{7}|95[0-9]{3}|96110"
)


def passes_luhn(digits: str) -> bool:
    """Return whether the Luhn sum of ``digits`` ends in 0 (ISO/IEC 7812-1, annex B)."""
    numbers = [int(digit) for digit in digits][::-1]
    doubled = [number * 2 - 9 * (number > 4) for number in numbers[1::2]]
    return sum(numbers[::2] + doubled) % 10 == 0


def is_identity_number(signs: str) -> bool:
    """Return whether date and check character (MOD 11-2, ISO 7064) are valid by GB 11643-1999."""
    if not _IDENTITY.fullmatch(signs):
        return False
    try:
        date(int(signs[6:10]), int(signs[10:12]), int(signs[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * (2 ** (17 - i) % 11) for i, digit in enumerate(signs[:17]))
    return signs[6:8] in {"18", "19", "20"} and signs[17] == "10x98765432"[total % 11]


def is_contact(digits: str) -> bool:
    """Return whether ``digits`` have the form of a telephone, card or identity number."""
    if is_identity_number(digits):
        return True
    if _CARD.fullmatch(digits):
        return passes_luhn(digits)
    return _CALLED.fullmatch(digits) is not None
