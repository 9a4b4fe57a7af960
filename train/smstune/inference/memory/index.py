"""Sketches of known messages, sorted so that near-duplicates are found by binary search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smstune.arrays import Flags, Floats, Ints, Keys, Rows, Words
from smstune.campaigns.sketch import TextSketches

#: Known messages of a bucket that a message is compared with. In a bucket they are sorted by the
#: next band, so these are the likeliest ones.
_WINDOW = 32
_QUERIES_AT_ONCE = 2048
_GRAMS_AT_ONCE = 1 << 20
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Pairs:
    """Pairs of a message and a known one, each once, with their similarity."""

    messages: Ints
    known: Ints
    similarities: Floats


@dataclass(frozen=True)
class Index:
    """The known messages, whose rows are in the order in which they were added.

    ``keys`` has a row for each band, sorted: the band's key in the high half of a word, the next
    band's in the low half. Its last row holds the digests, which are equal for equal skeletons.
    ``rows`` names the message of each key, ``starts`` where its grams begin; the last is their end.
    """

    keys: Words
    rows: Rows
    starts: Ints
    grams: Rows

    @property
    def n_messages(self) -> int:
        """The number of known messages."""
        return len(self.starts) - 1

    def with_messages(self, sketches: TextSketches) -> Index:
        """Return an index of these messages and new ones, which come last."""
        n_new = len(sketches.sizes)
        new_rows = np.arange(self.n_messages, self.n_messages + n_new, dtype=np.int32)
        keys = np.concatenate([self.keys, _sort_keys(sketches)], axis=1)
        rows = np.concatenate([self.rows, np.broadcast_to(new_rows, (len(keys), n_new))], axis=1)
        for band in range(len(keys)):
            # Two runs, the first of which is sorted: a stable sort merges them.
            order = np.argsort(keys[band], kind="stable")
            keys[band], rows[band] = keys[band][order], rows[band][order]
        ends = self.starts[-1] + np.cumsum(sketches.sizes, dtype=np.int64)
        return Index(
            keys,
            rows,
            np.concatenate([self.starts, ends]),
            np.concatenate([self.grams, sketches.grams]),
        )

    def only(self, kept: Flags) -> Index:
        """Return an index of the messages that ``kept`` marks."""
        renumbered = np.cumsum(kept, dtype=np.int32) - np.int32(1)
        marked = kept[self.rows]
        sizes = np.diff(self.starts)
        return Index(
            self.keys[marked].reshape(len(self.keys), -1),
            renumbered[self.rows[marked]].reshape(len(self.keys), -1),
            np.append(0, np.cumsum(sizes[kept])),
            self.grams[np.repeat(kept, sizes)],
        )

    def pairs(self, sketches: TextSketches, similarity: float) -> Pairs:
        """Return the pairs of these messages and known ones that are at least so similar.

        Similarity is the Jaccard index of the sets of 3-grams. Of a bucket that holds many known
        messages only some are compared, so a message of a large campaign has some of its pairs.
        """
        bounds = np.append(0, np.cumsum(sketches.sizes, dtype=np.int64))
        none = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        batches = [none]
        for messages, known in self._candidates(sketches):
            m = sketches.sizes[messages]
            n = self.starts[known + 1] - self.starts[known]
            # The smaller set bounds what can be shared.
            close = np.minimum(m, n) / np.maximum(m, n) >= similarity
            messages, known, sizes = messages[close], known[close], (m + n)[close]
            for pair in _batches(sizes):
                shared = _shared(
                    (sketches.grams, bounds, messages[pair]), (self.grams, self.starts, known[pair])
                )
                jaccard = shared / (sizes[pair] - shared)
                similar = jaccard >= similarity
                batches.append(
                    Pairs(messages[pair][similar], known[pair][similar], jaccard[similar])
                )
        return Pairs(
            np.concatenate([batch.messages for batch in batches]),
            np.concatenate([batch.known for batch in batches]),
            np.concatenate([batch.similarities for batch in batches]),
        )

    def _candidates(self, sketches: TextSketches) -> Iterator[tuple[Ints, Ints]]:
        """Yield messages and the known ones that share a band with them, each pair once."""
        if not self.n_messages:
            return
        sort_keys = _sort_keys(sketches)
        width = min(_WINDOW, self.n_messages)
        for first in range(0, len(sketches.sizes), _QUERIES_AT_ONCE):
            batch = slice(first, first + _QUERIES_AT_ONCE)
            lettered = sketches.lettered[batch]
            codes = []
            for band, keys in enumerate(self.keys):
                query = sort_keys[band, batch]
                position = np.searchsorted(keys, query)
                start = np.clip(position - width // 2, 0, self.n_messages - width)
                window = start[:, None] + np.arange(width)
                if band == len(self.keys) - 1:
                    same = keys[window] == query[:, None]
                else:
                    # Without letters only equal texts are similar, which share a digest.
                    same = (keys[window] ^ query[:, None]) >> _HALF == 0
                    same &= lettered[:, None]
                message, step = np.nonzero(same)
                row = self.rows[band][window[message, step]]
                codes.append((message + first) << 32 | row)
            pairs = np.unique(np.concatenate(codes))
            yield pairs >> 32, pairs & (2**32 - 1)


def only_texts(sketches: TextSketches, kept: Flags) -> TextSketches:
    """Return the sketches of the texts that ``kept`` marks."""
    return TextSketches(
        sketches.digests[kept],
        sketches.lettered[kept],
        sketches.keys[:, kept],
        sketches.sizes[kept],
        sketches.grams[np.repeat(kept, sketches.sizes)],
    )


def empty_index(n_bands: int) -> Index:
    """Return an index of no message, for sketches of so many bands."""
    return Index(
        np.empty((n_bands + 1, 0), np.uint64),
        np.empty((n_bands + 1, 0), np.int32),
        np.zeros(1, np.int64),
        np.empty(0, np.int32),
    )


def _sort_keys(sketches: TextSketches) -> Words:
    keys: Keys = sketches.keys
    paired = keys.astype(np.uint64) << _HALF | np.roll(keys, -1, axis=0)
    return np.concatenate([paired, sketches.digests[None]])


def _batches(weights: Ints) -> Iterator[slice]:
    """Yield ranges of about ``_GRAMS_AT_ONCE`` total weight."""
    ends = np.cumsum(weights)
    start = 0
    while start < len(weights):
        limit = (ends[start - 1] if start else 0) + _GRAMS_AT_ONCE
        stop = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
        yield slice(start, stop)
        start = stop


def _shared(left: tuple[Rows, Ints, Ints], right: tuple[Rows, Ints, Ints]) -> Ints:
    """Return how many grams the texts of each pair share.

    Each side is the grams of all texts, where the grams of each text begin, and a text for each
    pair.
    """
    codes = np.sort(np.concatenate([_pair_grams(*left), _pair_grams(*right)]))
    twice = codes[1:][codes[1:] == codes[:-1]] >> 32
    counts: Ints = np.bincount(twice, minlength=len(left[2]))
    return counts


def _pair_grams(grams: Rows, starts: Ints, texts: Ints) -> Ints:
    """Return the grams of each text of ``texts``, with its position there in the high half."""
    sizes = starts[texts + 1] - starts[texts]
    ends = np.cumsum(sizes)
    position = np.repeat(starts[texts] - (ends - sizes), sizes) + np.arange(ends[-1])
    pair = np.repeat(np.arange(len(texts), dtype=np.int64), sizes)
    coded: Ints = pair << 32 | grams[position]
    return coded
