"""How spam is written to get past a filter: text in, the same message written otherwise out.

Each transform changes a share of its places, ``strength`` in [0, 1], drawn by a generator: none at
0, all at 1, and what a smaller strength changes a larger one changes too. Placeholders stand for
contacts of the raw message and are never broken; ``digit_words`` and ``contacts`` write some out
as made-up contacts (the test number 130 0000 00.., domains of RFC 2606), as the raw message has
them. The sources in brackets (FBS: FBS_SMS_Dataset shows it) and the licences of lists stand in
docs/robustness.md.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import opencc
from pypinyin import lazy_pinyin

from smstune.config.schema import TransformName
from smstune.text.pii.placeholders import PLACEHOLDERS
from smstune.text.variants import PARTS, common_characters, is_han, look_alikes

Transform = Callable[[str, float, Random], str]

_WHOLE = "|".join(map(re.escape, PLACEHOLDERS))
_PIECE = re.compile(rf"{_WHOLE}|.", re.DOTALL)
_CONTACT = re.compile(
    rf"{_WHOLE}|(?:https?://|www\.)[!-~]+|[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)+[!-~]*|[0-9]{{5,}}|.",
    re.DOTALL,
)
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_SYMBOLS = "*·._-|~^/+=❤★☆●◆◎※→🔥💰👉⭐"
# What NFKC folds; full-width , ! ? : ; ( ) are ordinary Chinese punctuation and no disguise.
_WIDE = {chr(i): chr(i + 0xFEE0) for i in range(0x21, 0x7F) if chr(i) not in ",!?:;()~"}
_DIGITS = (
    "〇一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖", "⓪①②③④⑤⑥⑦⑧⑨", "⓿❶❷❸❹❺❻❼❽❾", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
)  # fmt: skip
_SIGNATURE = re.compile(r"^\s*【[^】]{1,20}】|【[^】]{1,20}】\s*$")
_SIGNATURES = (
    "【缴费提醒】",
    "【物业通知】",
    "【校园服务】",
    "【快递通知】",
    "【社区医院】",
    "【公交出行】",
)
_BENIGN = (
    "明天降温，出门记得添衣。",
    "妈，我到家了，晚上一起吃饭。",
    "您的快件已放在门卫处，请及时领取。",
    "会议改到下午三点，地点不变。",
    "本月水费已出账，请按时缴纳。",
    "孩子今天作业已完成，请家长签字。",
)


def evade(text: str, name: TransformName, strength: float, seed: int = 0) -> str:
    """Return ``text`` written otherwise; the same for the same four arguments.

    Raises:
        ValueError: if ``strength`` is not in [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"expected a strength from 0 to 1, found {strength}")
    key = f"{seed} {name} {text}".encode("utf-8", "surrogatepass")
    return TRANSFORMS[name](text, strength, Random(key))


def full_width(text: str, strength: float, rng: Random) -> str:
    """Write ASCII full-width: 微信ab12 as 微信ａｂ１２ (Bad Characters, IEEE S&P 2022)."""
    pieces = _PIECE.findall(text)
    return _write(pieces, [_WIDE.get(piece, "") for piece in pieces], strength, rng)


def zero_width(text: str, strength: float, rng: Random) -> str:
    """Put invisible characters between characters (Bad Characters, IEEE S&P 2022)."""
    pieces = _PIECE.findall(text)
    options = [[piece + mark for mark in _ZERO_WIDTH] for piece in pieces[:-1]]
    return _write(pieces, options, strength, rng)


def traditional(text: str, strength: float, rng: Random) -> str:
    """Write characters in a traditional form of the mainland, Hong Kong or Taiwan (TextShield)."""
    pieces = _PIECE.findall(text)
    return _write(pieces, [_traditional_forms(piece) for piece in pieces], strength, rng)


def homophones(text: str, strength: float, rng: Random) -> str:
    """Write another common character of the same sound, whatever its tone (StoneSkipping)."""
    pieces = _PIECE.findall(text)
    sounds = _homophones()
    options = [
        [other for other in sounds.get(reading, ()) if other != piece]
        for piece, reading in zip(pieces, _readings(pieces), strict=True)
    ]
    return _write(pieces, options, strength, rng)


def pinyin(text: str, strength: float, rng: Random) -> str:
    """Write the sound in place of the character: 微信 as wei信 (Argot, TextShield)."""
    pieces = _PIECE.findall(text)
    return _write(pieces, [[one] if one else [] for one in _readings(pieces)], strength, rng)


def initials(text: str, strength: float, rng: Random) -> str:
    """Write the first letter of the sound: 微信 as w信, 退订 as td (FBS)."""
    pieces = _PIECE.findall(text)
    return _write(pieces, [one[:1] for one in _readings(pieces)], strength, rng)


def look_alike(text: str, strength: float, rng: Random) -> str:
    """Write a character that looks alike: 微信 as 徽信, 人 as ⼈ (StoneSkipping, Argot)."""
    pieces = _PIECE.findall(text)
    table = look_alikes()
    return _write(pieces, [table.get(piece, []) for piece in pieces], strength, rng)


def split_characters(text: str, strength: float, rng: Random) -> str:
    """Write a character as its parts: 行 as 彳亍, 好 as 女子 (Argot, TextShield)."""
    pieces = _PIECE.findall(text)
    options = [[PARTS[piece]] if piece in PARTS else [] for piece in pieces]
    return _write(pieces, options, strength, rng)


def symbols(text: str, strength: float, rng: Random) -> str:
    """Put a symbol or emoji between two Chinese characters: 威❤信 (TextShield)."""
    pieces = _PIECE.findall(text)
    options = [
        [left + mark for mark in _SYMBOLS] if is_han(left) and is_han(right) else []
        for left, right in pairwise(pieces)
    ]
    return _write(pieces, options, strength, rng)


def digit_words(text: str, strength: float, rng: Random) -> str:
    """Write digits as words, circled or mathematical: 138 as 一三八, 壹叁捌, ①③⑧ (FBS)."""
    pieces = _PIECE.findall(text)
    plain = [_made_up(piece, rng) if piece in ("[PHONE]", "[NUM]") else piece for piece in pieces]
    options = [
        [one.translate(str.maketrans("0123456789", digits)) for digits in _DIGITS]
        if one.isascii() and one.isdigit()
        else []
        for one in plain
    ]
    return _write(pieces, options, strength, rng)


def shuffle(text: str, strength: float, rng: Random) -> str:
    """Swap neighbouring Chinese characters, two by two: 恭喜 as 喜恭 (Argot)."""
    pieces = re.findall(rf"{_WHOLE}|[一-鿿]{{2}}|.", text, re.DOTALL)
    options = [piece[::-1] if len(piece) == 2 and piece != piece[::-1] else "" for piece in pieces]
    return _write(pieces, [[one] if one else [] for one in options], strength, rng)


def contacts(text: str, strength: float, rng: Random) -> str:
    """Write phone numbers and addresses so that rules miss them: l3o, hxxp, eu点com (FBS)."""
    pieces = _CONTACT.findall(text)
    plain = [_made_up(piece, rng) for piece in pieces]
    options = [
        _hidden_number(one) if one.isdigit() and one.isascii() and len(one) > 4
        else _hidden_address(one) if "." in one and len(one) > 3
        else []
        for one in plain
    ]  # fmt: skip
    return _write(pieces, options, strength, rng)


def signature(text: str, strength: float, rng: Random) -> str:
    """Swap the 【signature】 for that of a public service, or put one in front: one place.

    Forged sender names are how fake base stations deceive (Lies in the Air, CCS 2020).
    """
    if not strength:
        return text
    return rng.choice(_SIGNATURES) + _SIGNATURE.sub("", text, count=1)


def benign_text(text: str, strength: float, rng: Random) -> str:
    """Append up to six harmless sentences: the good-word attack (Lowd and Meek, CEAS 2005)."""
    return text + "".join(_BENIGN[place] for place in _places(len(_BENIGN), strength, rng))


#: Every transform by its name in the configuration.
TRANSFORMS: dict[TransformName, Transform] = {
    "full_width": full_width,
    "zero_width": zero_width,
    "traditional": traditional,
    "homophones": homophones,
    "pinyin": pinyin,
    "initials": initials,
    "look_alike": look_alike,
    "split_characters": split_characters,
    "symbols": symbols,
    "digit_words": digit_words,
    "shuffle": shuffle,
    "contacts": contacts,
    "signature": signature,
    "benign_text": benign_text,
}


def _places(count: int, strength: float, rng: Random) -> list[int]:
    return rng.sample(range(count), count)[: math.ceil(strength * count)]


def _write(
    pieces: Sequence[str], options: Sequence[Sequence[str]], strength: float, rng: Random
) -> str:
    """Put one of its ``options`` in the place of a share of the pieces that have any."""
    written = list(pieces)
    able = [index for index, choices in enumerate(options) if choices]
    for place in _places(len(able), strength, rng):
        written[able[place]] = rng.choice(options[able[place]])
    return "".join(written)


def _readings(pieces: Sequence[str]) -> list[str]:
    """The sound of each piece in its context without its tone; empty where it has none."""
    flat = [piece if len(piece) == 1 else " " for piece in pieces]
    # A list from ``errors`` gives each of the characters that have no sound its own place.
    found = lazy_pinyin("".join(flat), errors=list)  # type: ignore[arg-type]
    return ["" if one == piece else one for one, piece in zip(found, flat, strict=True)]


@functools.cache
def _homophones() -> dict[str, list[str]]:
    sounds: dict[str, list[str]] = {}
    for character in common_characters():
        sounds.setdefault(lazy_pinyin(character)[0], []).append(character)
    return sounds


@functools.cache
def _converters() -> list[opencc.OpenCC]:
    return [opencc.OpenCC(name) for name in ("s2t", "s2hk", "s2tw")]


@functools.lru_cache(maxsize=20_000)
def _traditional_forms(piece: str) -> list[str]:
    if not is_han(piece):
        return []
    return sorted({one.convert(piece) for one in _converters()} - {piece})


def _made_up(piece: str, rng: Random) -> str:
    """Return ``piece``, or for a placeholder of a number or an address one that is nobody's."""
    number = rng.randrange(100)
    return {
        "[PHONE]": f"130000000{number:02}",
        "[NUM]": f"{number:02}{number + 7:04}",
        "[URL]": f"http://a{number}.example.com/{number}",
    }.get(piece, piece)


def _hidden_number(number: str) -> list[str]:
    wordy = number.translate(str.maketrans("0123456789", _DIGITS[0]))
    return [
        number.replace("0", "o").replace("1", "l"),
        "-".join(number),
        "".join(f"{digit}\ufe0f\u20e3" for digit in number),
        number[:3] + wordy[3:7] + number[7:],
        "❤".join(re.findall(".{1,3}", number)),
    ]


def _hidden_address(address: str) -> list[str]:
    bare = re.sub(r"^https?://", "", address)
    return [
        "hxxp://" + bare,
        bare.replace(".", "点"),
        bare.replace(".", "[.]"),
        bare.replace(".", " . "),
        "".join(_WIDE.get(character, character) for character in bare).replace("．", "。"),
    ]
