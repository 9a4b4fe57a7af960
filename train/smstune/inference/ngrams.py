"""Finds the known character n-grams of messages by numpy alone.

Texts are cut as by scikit-learn's ``TfidfVectorizer(analyzer="char", ngram_range=(1, 4))``: lower
case, a run of white space as one space.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from smstune.arrays import Floats, Ints, Rows, Words
from smstune.language import Message

#: Characters of the longest n-gram: as many numbers of 16 bits fit into a key of 64 bits.
LONGEST = 4
_BITS = 16
#: Number 0 means an unknown character.
_MAX_ALPHABET = 2**_BITS - 1
_RUN_OF_WHITE_SPACE = re.compile(r"\s\s+")
#: 2**64 divided by the golden ratio (Knuth, The Art of Computer Programming 3, section 6.4).
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
#: By length of n-gram: the bits of a key that its characters take, from the highest down.
_MASKS = [np.uint64(2**64 - 2 ** (64 - _BITS * length)) for length in range(LONGEST + 1)]


@dataclass(frozen=True)
class Occurrences:
    """Where n-grams of one length start in a batch: one row per occurrence.

    ``messages`` is the number of the message, ``starts`` the character in the joined batch, and
    ``columns`` the number of the n-gram in the vocabulary.
    """

    length: int
    messages: Ints
    starts: Ints
    columns: Rows


@dataclass(frozen=True)
class NGramTable:
    """An open-addressing hash table from n-grams to their numbers in a vocabulary.

    An n-gram's key holds the numbers of its characters, 16 bits each, so two n-grams never share a
    key. ``alphabet`` has the number of each code point, 0 if it is unknown. ``keys`` and
    ``columns`` are the table's slots; key 0 marks an empty one.
    """

    alphabet: NDArray[np.uint16]
    keys: Words
    columns: Rows

    def occurrences(self, texts: Sequence[str]) -> Iterator[Occurrences]:
        """Yield the occurrences of known n-grams in ``texts``, first of one character, then longer.

        A longer n-gram is looked up only where the n-gram without its last character is known.
        """
        # Empty messages at the end: characters are read beyond the last one.
        cut_texts = [as_cut(text) for text in texts] + [""] * LONGEST
        sizes = np.fromiter(map(len, cut_texts), np.int64, len(cut_texts))
        # The character between two messages is unknown, and so is every n-gram across it.
        characters = self.alphabet.take(_code_points("\n".join(cut_texts)))
        ends = np.cumsum(sizes + 1) - 1
        characters[ends[:-1]] = 0
        keys = _keys(characters)
        message_of_start = np.repeat(np.arange(len(cut_texts)), sizes + 1)
        starts = np.flatnonzero(characters)
        for length in range(1, LONGEST + 1):
            # Where the last character is unknown, the key would be that of the shorter n-gram.
            starts = starts[characters.take(starts + length - 1) != 0]
            hits, columns = self.find(keys.take(starts) & _MASKS[length])
            starts = starts.take(hits)
            yield Occurrences(length, message_of_start.take(starts), starts, columns)

    def find(self, keys: Words) -> tuple[Ints, Rows]:
        """Return which of ``keys`` are known, and their numbers in the vocabulary."""
        slots = self.first_slots(keys)
        stored = self.keys.take(slots)
        pending = np.flatnonzero((stored != keys) & (stored != 0))
        while len(pending):
            slots[pending] = self.next_slots(slots[pending])
            stored[pending] = self.keys.take(slots[pending])
            pending = pending[(stored[pending] != keys[pending]) & (stored[pending] != 0)]
        hits = np.flatnonzero(stored == keys)
        return hits, self.columns.take(slots[hits])

    def first_slots(self, keys: Words) -> Ints:
        """Return the slot where the search for each key starts."""
        bits = len(self.keys).bit_length() - 1
        return ((keys * _MULTIPLIER) >> np.uint64(64 - bits)).view(np.int64)

    def next_slots(self, slots: Ints) -> Ints:
        """Return the slot after each slot, the first after the last."""
        # The number of slots is a power of two.
        return (slots + 1) & (len(self.keys) - 1)


def build_table(vocabulary: Sequence[str], rarity: Floats) -> NGramTable:
    """Return the table of a vocabulary, which holds the beginning of each of its n-grams.

    ``rarity`` of each n-gram decides which characters stay unknown if there are more than 65,535.

    Raises:
        ValueError: if an n-gram is empty, too long or there twice, or its beginning or one of its
            characters is missing.
    """
    sizes = np.fromiter(map(len, vocabulary), np.int64, len(vocabulary))
    if len(sizes) and not 1 <= sizes.min() <= sizes.max() <= LONGEST:
        raise ValueError(
            Message("it has n-grams of no or more than {longest} characters", longest=LONGEST)
        )
    singles = np.flatnonzero(sizes == 1)
    singles = singles[np.argsort(rarity[singles], kind="stable")][:_MAX_ALPHABET]
    alphabet = np.zeros(sys.maxunicode + 1, np.uint16)
    code_points = _code_points("".join(vocabulary))
    starts = np.cumsum(sizes) - sizes
    alphabet[code_points[starts[singles]]] = np.arange(1, len(singles) + 1)
    characters = alphabet[code_points]
    masks = np.array(_MASKS)[sizes]
    keys = _keys(characters)[starts] & masks
    # N-grams with a character beyond the alphabet stay unknown, too.
    usable = np.ones(len(keys), bool)
    usable[np.repeat(np.arange(len(sizes)), sizes)[characters == 0]] = False
    if len(singles) < _MAX_ALPHABET and not usable.all():
        raise ValueError(Message("it has an n-gram with a character that is no n-gram itself"))
    columns = np.flatnonzero(usable).astype(np.int32)
    # At most a quarter of the slots are full, so most searches end at the first.
    n_slots = 1 << (4 * len(columns) + 1).bit_length()
    table = NGramTable(alphabet, np.zeros(n_slots, np.uint64), np.zeros(n_slots, np.int32))
    _insert(table, keys[columns], columns)
    _check(table, keys[columns], columns, sizes[columns])
    return table


def as_cut(text: str) -> str:
    """Return a text as n-grams are cut from it: in lower case, a run of white space as one space.

    White space that stands alone stays what it is, a tab for instance.
    """
    return _RUN_OF_WHITE_SPACE.sub(" ", text.lower())


def origins(text: str) -> Ints:
    """Return which character of ``text`` each character of ``as_cut(text)`` comes from."""
    # In lower case some characters become two.
    indices = [index for index, character in enumerate(text) for _ in character.lower()]
    pairs = zip(text.lower(), indices, strict=True)
    remaining: list[int] = []
    for is_space, pairs_alike in groupby(pairs, lambda pair: pair[0].isspace()):
        alike = [index for _, index in pairs_alike]
        remaining += alike[:1] if is_space else alike
    return np.array(remaining, np.int64)


def _insert(table: NGramTable, keys: Words, columns: Rows) -> None:
    slots = table.first_slots(keys)
    while len(keys):
        empty = table.keys[slots] == 0
        table.keys[slots[empty]] = keys[empty]
        table.columns[slots[empty]] = columns[empty]
        # Of several n-grams that took one slot, the last has it; the others go one further.
        waiting = table.columns[slots] != columns
        keys, columns = keys[waiting], columns[waiting]
        slots = table.next_slots(slots[waiting])


def _check(table: NGramTable, keys: Words, columns: Rows, sizes: Ints) -> None:
    if not np.array_equal(table.find(keys)[1], columns):
        raise ValueError(Message("it has an n-gram twice"))
    longer = sizes > 1
    beginnings = keys[longer] & np.array(_MASKS)[sizes[longer] - 1]
    if len(table.find(beginnings)[0]) < len(beginnings):
        raise ValueError(Message("it has an n-gram without the n-gram that it begins with"))


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _keys(characters: NDArray[np.uint16]) -> Words:
    """Return for each character the key of the n-gram of four that starts there.

    Behind the last character all are unknown.
    """
    padded = np.concatenate([characters, np.zeros(LONGEST - 1, np.uint16)]).astype(np.uint64)
    keys = np.zeros(len(characters), np.uint64)
    for offset in range(LONGEST):
        keys = (keys << np.uint64(_BITS)) | padded[offset : offset + len(characters)]
    return keys
