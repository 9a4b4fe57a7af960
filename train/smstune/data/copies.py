"""Exact copies: which rows are kept, and which texts have several labels."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
import xxhash

from smstune.arrays import Flags, Ints


@dataclass
class UsableRows:
    """For every usable row a fingerprint of its text, its label, and whether it is fixed.

    A fixed row is kept even where another has the same text.
    """

    fingerprints: array[int] = field(default_factory=lambda: array("Q"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    fixed: bytearray = field(default_factory=bytearray)
    label_ids: dict[str, int] = field(default_factory=dict)

    def add(self, text: str, label: str, *, fixed: bool) -> None:
        """Add the next row; a new label gets the next id."""
        self.fingerprints.append(xxhash.xxh3_64_intdigest(text.encode()))
        self.labels.append(self.label_ids.setdefault(label, len(self.label_ids)))
        self.fixed.append(fixed)


@dataclass(frozen=True)
class Copies:
    """Result of exact deduplication: kept rows with copy counts, and rows with conflicting labels.

    ``keep`` marks the kept rows, ``counts`` holds the number of copies of each of them.
    ``contradictory`` holds the rows whose text has several labels, ``texts`` the id of each one's
    text. ``pairs`` holds text * labels + label of each label of such a text, ascending.
    """

    keep: Flags
    counts: Ints
    contradictory: Ints
    texts: Ints
    pairs: Ints
    label_count: int

    def labels(self, text: int) -> list[int]:
        """Return the labels of a text that has several."""
        start, stop = np.searchsorted(self.pairs, np.array([text, text + 1]) * self.label_count)
        labels: list[int] = (self.pairs[start:stop] % self.label_count).tolist()
        return labels


def first_copies(usable_rows: UsableRows, *, keep_all: bool = False) -> Copies:
    """Merge rows of the same text into the first of them; fixed rows are not merged.

    With ``keep_all`` every row is kept as if it were fixed.
    """
    fixed = np.array(usable_rows.fixed, dtype=np.bool_) | keep_all
    rows = np.flatnonzero(~fixed).astype(np.int32)
    labels = np.array(usable_rows.labels, dtype=np.int32)[rows]
    label_count = len(usable_rows.label_ids)
    _, index, inverse, counts = np.unique(
        np.array(usable_rows.fingerprints, dtype=np.uint64)[rows],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    disputed = np.zeros(len(index), dtype=bool)
    disputed[inverse[labels != labels[index][inverse]]] = True
    keep = fixed.copy()
    keep[rows[index[~disputed]]] = True
    copies = np.ones(len(keep), dtype=np.int64)
    copies[rows[index]] = counts
    contradictory = np.flatnonzero(disputed[inverse])
    texts = inverse[contradictory]
    return Copies(
        keep=keep,
        counts=copies[keep],
        contradictory=rows[contradictory].astype(np.int64),
        texts=texts,
        pairs=np.unique(texts * label_count + labels[contradictory]),
        label_count=label_count,
    )
