"""Rewrites messages the way spam is rewritten to get past a filter.

Of the positions that a transform can change, it changes a random share, ``strength``: none at 0,
all at 1. A larger strength changes the same positions as a smaller one, and more. A placeholder
stands for a contact of the raw message and is never split. Only ``digit_words`` and ``contacts``
replace placeholders, by made-up contacts (the test number 130 0000 00.., domains of RFC 2606),
which they then disguise. The sources in brackets (FBS: seen in FBS_SMS_Dataset)
and the licences of lists are in docs/robustness.md.
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
# A placeholder counts as one character.
_CHARACTER = re.compile(rf"{_WHOLE}|.", re.DOTALL)
_CONTACT = re.compile(
    rf"{_WHOLE}|(?:https?://|www\.)[!-~]+|[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)+[!-~]*|[0-9]{{5,}}|.",
    re.DOTALL,
)
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_SYMBOLS = "*·._-|~^/+=❤★☆●◆◎※→🔥💰👉⭐"
# Full-width , ! ? : ; ( ) are ordinary Chinese punctuation and no disguise.
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
    """Return an evasive rewrite of ``text``. Deterministic in its arguments.

    Raises:
        ValueError: if ``strength`` is not in [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"expected a strength from 0 to 1, found {strength}")
    key = f"{seed} {name} {text}".encode("utf-8", "surrogatepass")
    return TRANSFORMS[name](text, strength, Random(key))


def full_width(text: str, strength: float, rng: Random) -> str:
    """Write ASCII full-width: 微信ab12 as 微信ａｂ１２ (Bad Characters, IEEE S&P 2022)."""
    characters = _CHARACTER.findall(text)
    return _write(characters, [_WIDE.get(character, "") for character in characters], strength, rng)


def zero_width(text: str, strength: float, rng: Random) -> str:
    """Put invisible characters between characters (Bad Characters, IEEE S&P 2022)."""
    characters = _CHARACTER.findall(text)
    options = [[character + mark for mark in _ZERO_WIDTH] for character in characters[:-1]]
    return _write(characters, options, strength, rng)


def traditional(text: str, strength: float, rng: Random) -> str:
    """Write characters in a traditional form of the mainland, Hong Kong or Taiwan (TextShield)."""
    characters = _CHARACTER.findall(text)
    return _write(characters, list(map(_traditional_forms, characters)), strength, rng)


def homophones(text: str, strength: float, rng: Random) -> str:
    """Write another common character of the same sound, whatever its tone (StoneSkipping)."""
    characters = _CHARACTER.findall(text)
    by_sound = _homophones()
    options = [
        [homophone for homophone in by_sound.get(sound, ()) if homophone != character]
        for character, sound in zip(characters, _sounds(characters), strict=True)
    ]
    return _write(characters, options, strength, rng)


def pinyin(text: str, strength: float, rng: Random) -> str:
    """Write the sound instead of the character: 微信 as wei信 (Argot, TextShield)."""
    characters = _CHARACTER.findall(text)
    options = [[sound] if sound else [] for sound in _sounds(characters)]
    return _write(characters, options, strength, rng)


def initials(text: str, strength: float, rng: Random) -> str:
    """Write the first letter of the sound: 微信 as w信, 退订 as td (FBS)."""
    characters = _CHARACTER.findall(text)
    return _write(characters, [sound[:1] for sound in _sounds(characters)], strength, rng)


def look_alike(text: str, strength: float, rng: Random) -> str:
    """Write a character that looks alike: 微信 as 徽信, 人 as ⼈ (StoneSkipping, Argot)."""
    characters = _CHARACTER.findall(text)
    table = look_alikes()
    options = [table.get(character, []) for character in characters]
    return _write(characters, options, strength, rng)


def split_characters(text: str, strength: float, rng: Random) -> str:
    """Write a character as its components: 行 as 彳亍, 好 as 女子 (Argot, TextShield)."""
    characters = _CHARACTER.findall(text)
    options = [[PARTS[character]] if character in PARTS else [] for character in characters]
    return _write(characters, options, strength, rng)


def symbols(text: str, strength: float, rng: Random) -> str:
    """Put a symbol or emoji between two Chinese characters: 威❤信 (TextShield)."""
    characters = _CHARACTER.findall(text)
    options = [
        [left + mark for mark in _SYMBOLS] if is_han(left) and is_han(right) else []
        for left, right in pairwise(characters)
    ]
    return _write(characters, options, strength, rng)


def digit_words(text: str, strength: float, rng: Random) -> str:
    """Write digits as words, circled or mathematical: 138 as 一三八, 壹叁捌, ①③⑧ (FBS)."""
    characters = _CHARACTER.findall(text)
    plain = [
        _made_up(character, rng) if character in ("[PHONE]", "[NUM]") else character
        for character in characters
    ]
    options = [
        [number.translate(str.maketrans("0123456789", digits)) for digits in _DIGITS]
        if number.isascii() and number.isdigit()
        else []
        for number in plain
    ]
    return _write(characters, options, strength, rng)


def shuffle(text: str, strength: float, rng: Random) -> str:
    """Swap neighbouring Chinese characters, two by two: 恭喜 as 喜恭 (Argot)."""
    chunks = re.findall(rf"{_WHOLE}|[一-鿿]{{2}}|.", text, re.DOTALL)
    options = [
        [chunk[::-1]] if len(chunk) == 2 and chunk != chunk[::-1] else [] for chunk in chunks
    ]
    return _write(chunks, options, strength, rng)


def contacts(text: str, strength: float, rng: Random) -> str:
    """Write phone numbers and addresses so that rules miss them: l3o, hxxp, eu点com (FBS)."""
    chunks = _CONTACT.findall(text)
    plain = [_made_up(chunk, rng) for chunk in chunks]
    options = [
        _hidden_number(contact) if contact.isdigit() and contact.isascii() and len(contact) > 4
        else _hidden_address(contact) if "." in contact and len(contact) > 3
        else []
        for contact in plain
    ]  # fmt: skip
    return _write(chunks, options, strength, rng)


def signature(text: str, strength: float, rng: Random) -> str:
    """Replace the 【signature】 by that of a public service, or put one in front: all or nothing.

    Forged sender names are how fake base stations deceive (Lies in the Air, CCS 2020).
    """
    if not strength:
        return text
    return rng.choice(_SIGNATURES) + _SIGNATURE.sub("", text, count=1)


def benign_text(text: str, strength: float, rng: Random) -> str:
    """Append up to six harmless sentences: the good-word attack (Lowd and Meek, CEAS 2005)."""
    chosen = _positions(len(_BENIGN), strength, rng)
    return text + "".join(_BENIGN[position] for position in chosen)


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


def _positions(count: int, strength: float, rng: Random) -> list[int]:
    return rng.sample(range(count), count)[: math.ceil(strength * count)]


def _write(
    chunks: Sequence[str], options: Sequence[Sequence[str]], strength: float, rng: Random
) -> str:
    """Replace a share of the chunks that have ``options`` by one of these."""
    written = list(chunks)
    changeable = [index for index, choices in enumerate(options) if choices]
    for position in _positions(len(changeable), strength, rng):
        index = changeable[position]
        written[index] = rng.choice(options[index])
    return "".join(written)


def _sounds(characters: Sequence[str]) -> list[str]:
    """Return the sound of each character in its context, without tone; empty where it has none."""
    singles = [character if len(character) == 1 else " " for character in characters]
    # With ``errors=list`` each character without a sound has an entry of its own.
    sounds = lazy_pinyin("".join(singles), errors=list)  # type: ignore[arg-type]
    return [
        "" if sound == character else sound
        for sound, character in zip(sounds, singles, strict=True)
    ]


@functools.cache
def _homophones() -> dict[str, list[str]]:
    by_sound: dict[str, list[str]] = {}
    for character in common_characters():
        by_sound.setdefault(lazy_pinyin(character)[0], []).append(character)
    return by_sound


@functools.cache
def _converters() -> list[opencc.OpenCC]:
    return [opencc.OpenCC(name) for name in ("s2t", "s2hk", "s2tw")]


@functools.lru_cache(maxsize=20_000)
def _traditional_forms(character: str) -> list[str]:
    if not is_han(character):
        return []
    return sorted({converter.convert(character) for converter in _converters()} - {character})


def _made_up(chunk: str, rng: Random) -> str:
    """Return ``chunk``, or for a placeholder a number or address that belongs to nobody."""
    number = rng.randrange(100)
    return {
        "[PHONE]": f"130000000{number:02}",
        "[NUM]": f"{number:02}{number + 7:04}",
        "[URL]": f"http://a{number}.example.com/{number}",
    }.get(chunk, chunk)


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
