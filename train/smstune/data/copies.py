"""Exact copies: which rows are kept, and which are one text under several labels."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray


@dataclass
class Held:
    """What is held of every usable row: a fingerprint of its text, its label, whether it is fixed.

    A fixed row keeps its place whatever equals it.
    """

    fingerprints: array[int] = field(default_factory=lambda: array("Q"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    fixed: bytearray = field(default_factory=bytearray)
    label_ids: dict[str, int] = field(default_factory=dict)

    def add(self, text: str, label: str, *, fixed: bool) -> None:
        """Note the next row; a label not met before gets the next id."""
        self.fingerprints.append(xxhash.xxh3_64_intdigest(text.encode()))
        self.labels.append(self.label_ids.setdefault(label, len(self.label_ids)))
        self.fixed.append(fixed)


class Copies(NamedTuple):
    """Which rows are kept, with their number of copies; which contradict another, and in what.

    ``pairs`` holds text * labels + label of each label that a contradictory text bears, ascending.
    """

    keep: NDArray[np.bool_]
    counts: NDArray[np.int64]
    contradictory: NDArray[np.int64]
    texts: NDArray[np.int64]
    pairs: NDArray[np.int64]
    label_count: int

    def labels(self, text: int) -> list[int]:
        """Return the labels that a contradictory text bears."""
        ends = np.searchsorted(self.pairs, np.array([text, text + 1]) * self.label_count)
        found: list[int] = (self.pairs[slice(*ends)] % self.label_count).tolist()
        return found


def first_copies(held: Held) -> Copies:
    """Merge equal texts into the first of them, fixed rows left out."""
    fixed = np.array(held.fixed, dtype=np.bool_)
    rows = np.flatnonzero(~fixed).astype(np.int32)
    labels = np.array(held.labels, dtype=np.int32)[rows]
    _, index, inverse, counts = np.unique(
        np.array(held.fingerprints, dtype=np.uint64)[rows],
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
    pairs = np.unique(texts * len(held.label_ids) + labels[contradictory])
    return Copies(
        keep, copies[keep], rows[contradictory].astype(np.int64), texts, pairs, len(held.label_ids)
    )
