"""The normaliser: the one form in which models read messages."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

import opencc

from smstune.text.pii.mask import mask_pii
from smstune.text.pii.placeholders import PLACEHOLDER
from smstune.text.variants import BOUND_PARTS

#: Longest message an SMS can carry: 255 segments of 67 UCS-2 characters (3GPP TS 23.040).
MAX_CHARACTERS = 255 * 67


#: Increased whenever ``normalize`` returns something else for any text. A run loads only under the
#: version it was trained with.
NORMALIZER_VERSION = 2

# Full-width Chinese punctuation is ordinary clean text that pretrained vocabularies know; NFKC
# would turn it into ASCII. Everything else is folded.
_ALL_BUT_CHINESE_PUNCTUATION = re.compile("[^，！？：；（）…～]+")
# Category C without white space, and the characters that Unicode calls default-ignorable though
# they are letters or marks: joiners, Hangul fillers, Khmer inherent vowels, variation selectors.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]+"
)
# More marks than any language puts on a letter (Unicode Standard Annex 15, stream-safe text).
_MANY_FOREIGN = re.compile("[^\x00-\x7f一-鿿]{31,}")
_WHITE_SPACE = re.compile(r"\s+")
_NEEDLESS_BLANK = re.compile("(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")
# Spam puts symbols between characters (威❤信) and splits them (亻言), see docs/robustness.md.
_BETWEEN_CHARACTERS = re.compile(r"(?<=[一-鿿])[^\w\s]+(?=[一-鿿])")
_WHOLE = {parts: character for character, parts in BOUND_PARTS.items()}
_PARTS = re.compile("|".join(_WHOLE))


def normalize(text: str) -> str:
    """Return ``text`` in the one form that models read; idempotent.

    Zero-width, control and other invisible characters and lone surrogates are dropped. Characters
    are folded by NFKC (Unicode Standard Annex 15), except full-width Chinese punctuation; runs of
    white space become one blank. Traditional characters become simplified ones by OpenCC's phrase
    tables (opencc, Apache-2.0), which leave 著名 and 乾隆 correct; a table of single characters
    does not. Symbols and emoji between two Chinese characters are dropped. A character split into
    two components, the left of which is no word, is joined. Clean simplified Chinese is returned
    unchanged.
    """
    text = _INVISIBLE.sub("", text)
    text = _ALL_BUT_CHINESE_PUNCTUATION.sub(_fold, text)
    text = _WHITE_SPACE.sub(" ", _INVISIBLE.sub("", text)).strip()
    return text if text.isascii() else _simplify(text)


def preprocess(text: str, *, mask: bool, drop_punctuation: bool = False) -> str:
    """Return ``text`` normalised and, with ``mask``, its personal information as placeholders.

    With ``drop_punctuation`` what is left is written as FBS writes its messages: without
    punctuation and symbols, and with blanks only between two Latin words or numbers.
    """
    text = normalize(text)
    if mask:
        text = mask_pii(text)
    return without_punctuation(text) if drop_punctuation else text


def without_punctuation(text: str) -> str:
    """Return ``text`` without marks (Unicode categories P and S); placeholders are kept.

    Between two Latin letters or digits, marks become a blank, so that 3.5 does not become 35.
    """
    words_and_placeholders: list[str] = []
    end = 0
    for placeholder in PLACEHOLDER.finditer(text):
        words_and_placeholders += [
            _marks_to_blanks(text[end : placeholder.start()]),
            placeholder[0],
        ]
        end = placeholder.end()
    words_and_placeholders.append(_marks_to_blanks(text[end:]))
    return _NEEDLESS_BLANK.sub("", "".join(words_and_placeholders)).strip()


def _marks_to_blanks(text: str) -> str:
    marked = "".join(" " if unicodedata.category(mark)[0] in "PS" else mark for mark in text)
    return _WHITE_SPACE.sub(" ", marked)


def _fold(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", _MANY_FOREIGN.sub(_in_canonical_order, match[0]))


def _in_canonical_order(match: re.Match[str]) -> str:
    """Return an equivalent text for NFKC with all combining marks in canonical order.

    ``unicodedata`` sorts marks by insertion, which takes 2.5 s for a run of 40,000 marks.
    """
    decomposed = "".join(unicodedata.normalize("NFKD", character) for character in match[0])
    runs = itertools.groupby(decomposed, key=lambda character: unicodedata.combining(character) > 0)
    return "".join("".join(sorted(run, key=unicodedata.combining)) for _, run in runs)


def _simplify(text: str) -> str:
    # One pass can leave a character that the next one changes (薴), or make components adjacent.
    while (simplified := _converter().convert(_join_components(text))) != text:
        text = simplified
    return text


def _join_components(text: str) -> str:
    text = _BETWEEN_CHARACTERS.sub(_without_symbols, text)
    return _PARTS.sub(lambda match: _WHOLE[match[0]], text)


def _without_symbols(match: re.Match[str]) -> str:
    """Return nothing for symbols alone (Unicode category So), anything else unchanged."""
    is_symbols = all(unicodedata.category(character) == "So" for character in match[0])
    return "" if is_symbols else match[0]


@functools.cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")
