"""Digits however they are written: full-width, circled, Chinese, with separators between them."""

from __future__ import annotations

import re

CHINESE_DIGITS = "〇零一二三四五六七八九幺壹贰貳叁參肆伍陆陸柒捌玖"
TO_ARABIC = str.maketrans(CHINESE_DIGITS, "001234567891122334566789")
CHINESE_UNITS = "两几十百千万亿拾佰仟萬億"

#: At most one separator between two digits, with a blank on either side of it, or two blanks. Each
#: text matches in one way only: two ways would be 2^n for a run of n digits.
SEPARATOR = r"(?:[ ]?[-‐‑–—_.·•~*|][ ]?|[ ]{1,2})?"
#: A further digit of a number.
NEXT_DIGIT = f"{SEPARATOR}[0-9]"
NOT_DIGITS = re.compile("[^0-9]+")
#: What a text must hold for any rule of long numbers to be worth a try.
FIVE_DIGITS = rf"[0-9](?:{NEXT_DIGIT}){{4}}"


def _full_width() -> dict[int, str]:
    folded = {
        0xFEE0 + code: chr(code).lower()
        for code in range(33, 127)
        if re.match(r"[#$+./@\w-]", chr(code))
    }
    blanks = {0x3000: " ", 0xA0: " "}
    money = {0xA5: "$", 0xFFE5: "$"}
    return folded | blanks | money


def _capitals() -> dict[int, str]:
    return {code: chr(code + 32) for code in range(ord("A"), ord("Z") + 1)}


def _circled_and_mathematical() -> dict[int, str]:
    mathematical = {0x1D7CE + index: str(index % 10) for index in range(50)}
    circled = {
        first + index: str(index + 1)
        for first in (0x2460, 0x2776, 0x2780, 0x278A)
        for index in range(9)
    }
    return mathematical | circled | {0x24EA: "0"}


#: Full-width, capital, mathematical and circled characters, one for one; 點 as 点.
FOLD = _full_width() | _capitals() | {ord("點"): "点"} | _circled_and_mathematical()
FOLDED = re.compile("[" + "".join(map(chr, FOLD)) + "]")
#: Characters that show nothing: soft hyphens, joiners, marks of direction, variation selectors.
INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe0f\ufeff]"
)

_ANY_DIGIT = f"[0-9{CHINESE_DIGITS}]"
# Eight and more: 一二三四五六 is counting.
_EIGHT_AND_MORE = rf"{_ANY_DIGIT}(?:{SEPARATOR}{_ANY_DIGIT}){{7,}}"
_BANK_HOTLINE = rf"九{SEPARATOR}五(?:{SEPARATOR}[{CHINESE_DIGITS}]){{3}}"
_CARRIER_HOTLINE = rf"[一幺][零〇]{{2}}[{CHINESE_DIGITS}]{{2}}"
#: Chinese digits that are a number one could call.
CHINESE_RUN = re.compile(f"{_EIGHT_AND_MORE}|{_BANK_HOTLINE}|{_CARRIER_HOTLINE}")
