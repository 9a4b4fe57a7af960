"""Which message goes into which split, and how much of the test set train has already seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train.data.dedup import near_matches

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)


def split_by_group(
    groups: NDArray[np.int64], labels: NDArray[np.int64], *, seed: int = 42
) -> NDArray[np.int8]:
    """Return for each row the index of its split in ``SPLITS``; no group straddles two.

    Groups are handed out label by label, the label with the fewest groups first and the largest
    group first, each to the split that lacks most of that label (the greedy rule of stratified
    group folds). A label with at least three groups of its own is in all three splits.
    """
    group_ids, group_of_row = np.unique(groups, return_inverse=True)
    counts = _label_counts(group_of_row, labels, len(group_ids))
    groups_of_label = (counts > 0).sum(axis=0)
    # A campaign under two labels is handed out with the rarer of them.
    rarity = np.where(counts > 0, groups_of_label, np.iinfo(np.int64).max)
    main_label = rarity.argmin(axis=1)
    shuffled = np.random.default_rng(seed).permutation(len(group_ids))
    split_of_group = np.zeros(len(group_ids), dtype=np.int8)
    filled = np.zeros((len(SPLITS), counts.shape[1]))
    for label in np.argsort(groups_of_label, kind="stable"):
        mine = shuffled[main_label[shuffled] == label]
        mine = mine[np.argsort(-counts[mine].sum(axis=1), kind="stable")]
        wanted = np.array(FRACTIONS) * counts[:, label].sum()
        for position, group in enumerate(mine):
            lacking = wanted - filled[:, label]
            empty = filled[:, label] == 0
            if empty.sum() >= len(mine) - position:
                lacking[~empty] = -np.inf
            split_of_group[group] = lacking.argmax()
            filled[lacking.argmax()] += counts[group]
    return split_of_group[group_of_row]


def split_at_random(labels: NDArray[np.int64], *, seed: int = 42) -> NDArray[np.int8]:
    """Return for each row the index of its split, stratified by label and blind to groups."""
    rng = np.random.default_rng(seed)
    split = np.zeros(len(labels), dtype=np.int8)
    edges = np.cumsum(FRACTIONS)[:-1]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.round(edges * len(rows)).astype(int)
        for index, part in enumerate(np.split(rows, cuts)):
            split[part] = index
    return split


def contamination(test: Sequence[str], train: Sequence[str]) -> dict[str, float]:
    """Return the share of ``test`` with an ``exact`` and with a ``near`` copy in ``train``.

    Near means a Jaccard similarity of at least 0.7 over character n-grams, exact copies included
    (see ``dedup.near_matches``). Both are 0 where there is no test message.
    """
    if not len(test):
        return {"exact": 0.0, "near": 0.0}
    known = set(train)
    exact = sum(text in known for text in test) / len(test)
    near = float((near_matches(test, train) >= 0).mean())
    return {"exact": exact, "near": near}


def _label_counts(
    group_of_row: NDArray[np.int64], labels: NDArray[np.int64], group_count: int
) -> NDArray[np.int64]:
    counts = np.zeros((group_count, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (group_of_row, labels), 1)
    return counts
