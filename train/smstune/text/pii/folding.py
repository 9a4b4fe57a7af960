"""Folds a message for the rules: plain characters, and numbers without their disguise."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence

from smstune.text.pii.digits import (
    NOT_DIGITS,
    ONE_SEPARATOR,
    SEPARATOR,
    SPELT_DIGITS,
    TO_ARABIC,
    is_contact,
    is_identity_number,
)
from smstune.text.pii.placeholders import BLANK

#: What every emoji and symbol is folded to.
SYMBOL = "•"
# Replaces a character that is removed afterwards.
_DROPPED = "\x01"

_READ_AS: dict[int, str] = {
    **{ord(capital): capital.lower() for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **dict.fromkeys(map(ord, "\t\n\v\f\r\x85"), " "),
    **dict.fromkeys(map(ord, "¥￥"), "$"),
    **dict.fromkeys(map(ord, "・･‧"), "·"),
    **dict.fromkeys(map(ord, "○◯⭕⚪"), "〇"),
    # Cyrillic and Greek letters that look Latin.
    **dict(zip(map(ord, "аеорсухіАЕОРСХІοΟΙ"), "aeopcyxiaeopcxiooi", strict=True)),
    **dict(zip(map(ord, "點➕〈〉"), "点+<>", strict=True)),
}
_ASCII_OF_CONTACTS = re.compile(r"[#$+./@\w=*~-]", re.ASCII)


class _Fold(dict[int, str]):
    """The folded form of each character: the ASCII character that NFKC turns it into, if any.

    A character to which Unicode gives a whole number from 0 to 9 is folded to that digit: ⑴, 〡, ٣,
    Ⅳ. Chinese characters are not: 陆 and 参 have numbers too, but are more often words.
    """

    def __missing__(self, code: int) -> str:
        self[code] = _read_as(chr(code))
        return self[code]


def _read_as(character: str) -> str:
    if character.isascii() or "一" <= character <= "鿿":
        return character
    number = unicodedata.numeric(character, -1)
    if number in range(10) and not unicodedata.name(character).startswith("CJK "):
        return str(int(number))
    compatible = unicodedata.normalize("NFKC", character).lower()
    if compatible == " " or _ASCII_OF_CONTACTS.fullmatch(compatible):
        return compatible
    is_symbol = unicodedata.category(character) in ("So", "Sm", "Sk") and character >= "←"
    return SYMBOL if is_symbol and compatible == character else character


_FOLD = _Fold(_READ_AS)
#: Every character that is folded matches this.
FOLDED = re.compile("[A-Z點\t-\r]|[^\0-\x7f一-鿿、。“”‘’…—【】《》，！？：；（）～]")
# Invisible characters: soft hyphens, joiners, direction marks, variation selectors.
_INVISIBLE = re.compile(
    "[\x01\xad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe0f\ufeff]"
)

_DIGIT = f"[0-9{SPELT_DIGITS}]"
_LIKE_A_DIGIT = f"[0-9{SPELT_DIGITS}oil]"
_LETTERS_TO_DIGITS = str.maketrans("oil", "011")
_TO_DIGITS = TO_ARABIC | _LETTERS_TO_DIGITS

#: Digits one by one with anything between them.
SPREAD_DIGITS = f"{_DIGIT}(?:[^{BLANK}]{{0,3}}{_DIGIT}){{3}}"
# Disguises are looked for only in a text that contains this.
_HINT = re.compile(
    f"{_DIGIT}(?:.{{0,3}}{_LIKE_A_DIGIT}){{2}}|{_DIGIT}{_LIKE_A_DIGIT}[ ]?[元圆圓块]"
    "|[ ][a-z][ ](?:[a-z0-9][ ]){2}",
    re.DOTALL,
)


def _only(pattern: str, text: str) -> str:
    """Return ``text`` with all characters that ``pattern`` does not match marked for removal."""
    return re.sub(f"(?!{pattern}).", _DROPPED, text, flags=re.DOTALL)


def _without_blanks(match: re.Match[str]) -> str:
    return match[0].replace(" ", _DROPPED)


def _letters_together(match: re.Match[str]) -> str:
    return _without_blanks(match) if _LATIN_LETTER.search(match[0]) else match[0]


_LATIN_LETTER = re.compile("[a-z]")

# k e f u 8 8, w w w . a . c o m
_LETTERS_APART = "[a-z0-9](?<![a-z0-9@._-].)(?:[ ][a-z0-9@._/:-](?![a-z0-9])){5,}"

_OPENING = "[(（\\[【「<《{]"
_CLOSING = "[)）\\]】」>》}]"
# (1)(3)(0), (1)(3)0, 【130】【0000】.
_IN_BRACKETS = (
    f"(?:(?:{_OPENING}[0-9a-z{SPELT_DIGITS}]{_CLOSING}|{_DIGIT})[ -]?){{4,}}"
    f"|(?:{_OPENING}{_DIGIT}{{2,8}}{_CLOSING}[ ]?){{2,}}"
)
_CLOSED = re.compile(_CLOSING)
_DIGIT_BEHIND_DIGIT = re.compile(f"{_DIGIT}{{2}}")


def _without_brackets(match: re.Match[str]) -> str:
    plain = _only(f"[0-9a-z{SPELT_DIGITS}]", match[0])
    signs = plain.replace(_DROPPED, "")
    in_brackets = len(_CLOSED.findall(match[0]))
    are_groups = _DIGIT_BEHIND_DIGIT.match(match[0], 1) is not None
    are_most = are_groups or 2 * in_brackets >= len(signs)
    is_disguise = are_most or is_contact(signs.translate(TO_ARABIC))
    return plain if in_brackets > 1 and is_disguise else match[0]


_COUNTING = "0123456789101112"
# The fewest digits that count as disguised, by separator: lists and sums have fewer.
_MIN_DIGITS_BY_SEPARATOR = {**dict.fromkeys(",，、/:：;.", 7), "+": 5}


def _without_noise(match: re.Match[str]) -> str:
    """Remove what is between digits written one by one, unless they count upwards."""
    plain = _only(f"{_DIGIT}|x$", match[0]).translate(TO_ARABIC)
    digits = plain.replace(_DROPPED, "")
    min_digits = _MIN_DIGITS_BY_SEPARATOR.get(match["noise"].strip(), 4)
    return match[0] if len(digits) < min_digits or digits in _COUNTING else plain


# 1加3加0加0: the same characters between all digits.
_INTERLEAVED = (
    rf"(?<![0-9]){_DIGIT}(?P<noise>(?!{SEPARATOR}[0-9])[^0-9{SPELT_DIGITS}{BLANK}]{{1,3}}?)"
    rf"{_DIGIT}(?:(?P=noise){_DIGIT}){{2,}}(?:(?P=noise)x)?"
)


def _joined_if_contact(match: re.Match[str]) -> str:
    digits = NOT_DIGITS.sub("", match[0])
    return _only("[0-9]", match[0]) if is_contact(digits) else match[0]


# 1我3爱0你: any characters between the digits, if the digits form a contact.
_SCATTERED = rf"(?<![0-9])[0-9](?:[^0-9{BLANK}]{{1,2}}[0-9]){{6,18}}(?![0-9])"


def _without_stops(match: re.Match[str]) -> str:
    stops = sum(sign in ".," for sign in match[0])
    return _joined_if_contact(match) if stops >= _MIN_STOPS else match[0]


# ⒈⒊00⒉ by NFKC is 1.3.002. An address 10.0.0.1 has three stops.
_MIN_STOPS = 4
_WITH_STOPS = "(?<![0-9])(?<![0-9][.,-])[0-9](?:[.,-]{0,2}[0-9]){6,18}(?![0-9])"


def _groups_joined(match: re.Match[str]) -> str:
    """Join groups that form a contact. Cards have groups of four digits, lists have longer ones."""
    digits = NOT_DIGITS.sub("", match[0])
    longest = max(map(len, NOT_DIGITS.split(match[0])))
    is_list = longest > 4 and not is_identity_number(digits) and digits[0] in "3456"
    return match[0] if is_list else _joined_if_contact(match)


# 130/0000/0001, 130，0000，0001. Separators that the rules know are left to them: 5,956.82元.
_ODD_SEPARATOR = rf"(?!{ONE_SEPARATOR}[0-9])[ ]?[^\w\s{BLANK}]{{1,3}}[ ]?"
_IN_ODD_GROUPS = (
    rf"(?<![0-9])(?<![0-9][.,])[0-9]{{3,6}}(?P<odd>{_ODD_SEPARATOR}|[一-鿿]{{1,2}})[0-9]{{2,8}}"
    rf"(?:(?P=odd)[0-9]{{1,8}}){{0,3}}(?![0-9元块%])"
)

# 1a3b0c.
_LETTERS_BETWEEN = "(?<![0-9a-z.])[0-9](?:[a-z][0-9]){4,18}(?![0-9a-z.])"


def _without_letters(match: re.Match[str]) -> str:
    return _only("[0-9]", match[0])


# A character after which a number is likely to be a contact.
_NUMBER_CUES = "[码碼号信扣抠鹅群裙q询电话线服是为:：=]"
_CUE_BEFORE = re.compile(_NUMBER_CUES)
_WITH_LETTERS = rf"(?:(?<![a-z0-9])|(?<=q)){_LIKE_A_DIGIT}(?:{SEPARATOR}{_LIKE_A_DIGIT}){{4,}}x?"


def _as_digits(match: re.Match[str]) -> str:
    """Read o, i and l as digits if enough of the other characters are digits."""
    if _LATIN_LETTER.match(match.string, match.end()):
        return match[0]
    plain = match[0].translate(_TO_DIGITS)
    digits = re.sub("[^0-9x]", "", plain)
    letters = sum(sign in "oil" for sign in match[0])
    n_digits = len(digits) - letters
    follows_cue = _CUE_BEFORE.match(match.string, max(0, match.start() - 1)) is not None
    likely = n_digits >= 2 and (follows_cue or is_contact(digits) or 3 * n_digits >= len(digits))
    return plain if letters and likely else match[0]


_CURRENCY_FOLLOWS = "(?=[ ]?(?:[元圆圓]|块(?![0-9])))"
# 35OO元, 三五00元, 3 5 0 0元.
_AMOUNT = (
    rf"{_LIKE_A_DIGIT}(?<![a-z0-9].)(?:{_LIKE_A_DIGIT}{{1,7}}|(?:[ ][0-9]){{1,7}})"
    f"{_CURRENCY_FOLLOWS}"
)


_MIXED = re.compile(f"[0-9]|[{SPELT_DIGITS}][oil]")


def _amount(match: re.Match[str]) -> str:
    is_mixed = _MIXED.search(match[0]) is not None
    return _without_blanks(match).translate(_TO_DIGITS) if is_mixed else match[0]


_LONG_ARABIC = re.compile(rf"[0-9](?:{SEPARATOR}[0-9]){{10,}}")


def _arabic(match: re.Match[str]) -> str:
    """Translate Chinese digits, but not the word after a complete number: 13000000001一起."""
    run = match[0]
    arabic = _LONG_ARABIC.match(run)
    is_word = arabic and len(run) - arabic.end() <= 2
    return run if is_word or len(set(run)) == 1 else run.translate(TO_ARABIC)


# Eight or more digits, Chinese or Arabic; six or more without separators; fewer next to letters or
# digits, or four to seven after a cue such as 码.
_EIGHT_AND_MORE = rf"{_DIGIT}(?:{SEPARATOR}{_DIGIT}){{7,}}"
_WITHOUT_SEPARATORS = rf"{_DIGIT}{{6,}}"
_GLUED_TO_LETTERS = f"[{SPELT_DIGITS}](?<=[a-z0-9_].)[{SPELT_DIGITS}]{{1,6}}"
_AFTER_CUE = (
    rf"{_DIGIT}(?:(?<={_NUMBER_CUES}.)|(?<={_NUMBER_CUES}[ ].))(?:{SEPARATOR}{_DIGIT}){{3,6}}"
)
_BANK_HOTLINE = rf"九{SEPARATOR}五(?:{SEPARATOR}[{SPELT_DIGITS}]){{3}}"
_SHORT_HOTLINE = (
    f"[一幺](?<!{_DIGIT}.)(?:[零〇0]{{2}}[{SPELT_DIGITS}]{{2}}|二[一三](?!四)[{SPELT_DIGITS}]{{2}})"
    f"(?!{_DIGIT})"
)
_IN_CHINESE = (
    f"{_EIGHT_AND_MORE}|{_WITHOUT_SEPARATORS}|{_GLUED_TO_LETTERS}|{_AFTER_CUE}|{_BANK_HOTLINE}"
    f"|{_SHORT_HOTLINE}"
)

# 130--0000--0001.
_DOUBLED = r"(?<=[0-9])(?P<mark>[-–—_.·•~～]|[ ][ ])(?P=mark){1,2}(?=[0-9])"


def _one_mark(match: re.Match[str]) -> str:
    return match[0][0] + _DROPPED * (len(match[0]) - 1)


@functools.cache
def _disguises() -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]:
    """Return patterns and what to replace their matches by, compiled for the first disguise.

    Each removes one disguise and leaves the number of characters unchanged.
    """
    replacements = (
        (_LETTERS_APART, _letters_together),
        (_IN_BRACKETS, _without_brackets),
        (_INTERLEAVED, _without_noise),
        (_DOUBLED, _one_mark),
        (_AMOUNT, _amount),
        (_WITH_LETTERS, _as_digits),
        (_IN_CHINESE, _arabic),
        (_WITH_STOPS, _without_stops),
        (_SCATTERED, _joined_if_contact),
        (_LETTERS_BETWEEN, _without_letters),
        (_IN_ODD_GROUPS, _groups_joined),
    )
    return tuple((re.compile(pattern), plain) for pattern, plain in replacements)


def folded(text: str) -> tuple[str, Sequence[int]]:
    """Return ``text`` folded for the rules, and where each of its characters is in ``text``."""
    view = text
    origin: Sequence[int] = range(len(text))
    if _INVISIBLE.search(text):
        view, origin = _without(_INVISIBLE, text, origin)
    if FOLDED.search(view):
        view = view.translate(_FOLD)
    if not _HINT.search(view):
        return view, origin
    for disguise, plain in _disguises():
        view = disguise.sub(plain, view)
        if _DROPPED in view:
            view, origin = _without(re.compile(_DROPPED), view, origin)
    return view, origin


def _without(
    removed: re.Pattern[str], text: str, origin: Sequence[int]
) -> tuple[str, Sequence[int]]:
    """Return ``text`` and ``origin`` without the characters that ``removed`` matches."""
    pairs = [
        (character, index)
        for character, index in zip(text, origin, strict=True)
        if not removed.match(character)
    ]
    return "".join(character for character, _ in pairs), [index for _, index in pairs]
