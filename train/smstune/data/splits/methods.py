"""Which message goes into which split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from smstune.arrays import Assigned, Flags, Ints
from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.times import parse_times

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
#: How a reader sees the names of the splits.
SPLIT_TITLES = {
    "train": Message("train"),
    "validation": Message("validation"),
    "test": Message("test"),
}
FRACTIONS = (0.7, 0.1, 0.2)
#: Split index of a row that goes into no split.
SET_ASIDE = -1


def split_by_group(groups: Ints, labels: Ints, *, seed: int = 42) -> Assigned:
    """Return for each row the index of its split in ``SPLITS``; each group is in one split.

    A label with at least three groups of its own is in all three splits (see ``_distribute``).
    """
    return _distribute(groups, labels, FRACTIONS, seed).astype(np.int8)


def kfold_by_group(groups: Ints, labels: Ints, *, folds: int = 5, seed: int = 42) -> Ints:
    """Return for each row its fold, stratified by label; each group is in one fold.

    A label with at least ``folds`` groups of its own is in every fold. Groups with several
    labels limit this: three groups with labels AB, BC and CA cannot be put into two folds that both
    have A, B and C.

    Raises:
        UserError: if there are fewer than two folds, or fewer groups than folds.
    """
    n_groups = len(np.unique(groups))
    if not 2 <= folds <= n_groups:
        raise UserError(
            "expected at least 2 folds and a group for each, found {folds} folds and {n_groups} "
            "groups: ask for fewer folds or add messages of other campaigns",
            folds=folds,
            n_groups=n_groups,
        )
    return _distribute(groups, labels, (1 / folds,) * folds, seed)


def split_by_time(groups: Ints, times: Iterable[str | None]) -> Assigned:
    """Return for each row the index of its split: train before validation before test.

    A group's time is that of its first message. Each group is in one split, and so are all groups
    of the same time. The cuts are between two times, as near as possible to 70 % of the rows, then
    to a third of the rest. So every test campaign begins after every train campaign has begun, but
    a train campaign may still have messages later than that.

    Raises:
        UserError: if a row has no readable time (see ``read_time``), or the groups begin at fewer
            than three times.
    """
    moments = parse_times(times)
    if missing := int(np.isnat(moments).sum()):
        raise UserError(
            "expected a time for every message, found none in {missing} of {n_moments} rows: "
            "write them like 2015-03-09 11:38, 2015-03-09 or 2015-03, delete those rows, or "
            "split by group",
            missing=missing,
            n_moments=len(moments),
        )
    _, group = np.unique(groups, return_inverse=True)
    began = np.full(int(group.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(began, group, moments.astype(np.int64))
    starts, start = np.unique(began[group], return_inverse=True)
    if len(starts) < len(SPLITS):
        raise UserError(
            "expected campaigns that begin at three different times or more, found {n_starts}: "
            "give finer times or split by group",
            n_starts=len(starts),
        )
    rows = np.cumsum(np.bincount(start))
    # Each cut leaves at least one time for every split that follows it.
    first = np.abs(rows[:-2] - FRACTIONS[0] * rows[-1]).argmin()
    rest = rows[-1] - rows[first]
    target = rows[first] + rest * FRACTIONS[VALIDATION] / (FRACTIONS[VALIDATION] + FRACTIONS[TEST])
    second = first + 1 + np.abs(rows[first + 1 : -1] - target).argmin()
    split: Assigned = np.searchsorted([first, second], start).astype(np.int8)
    return split


def split_around_test(
    test: Flags,
    shared: Flags,
    groups: Ints,
    labels: Ints,
    *,
    seed: int = 42,
) -> Assigned:
    """Return for each row the index of its split, where the rows of ``test`` are known.

    The other rows go into train and validation by group, seven to one, except rows of ``shared``
    groups: these are ``SET_ASIDE``, because train would contain copies of test messages. A label
    with at least two groups of its own in what remains is in both.

    Raises:
        UserError: if fewer than two groups are left for training.
    """
    free = ~(shared | test)
    usable = len(np.unique(groups[free]))
    if usable < 2:
        raise UserError(
            "expected at least two campaigns to train on that share nothing with the test set, "
            "found {usable}: add messages of other campaigns or choose another test set",
            usable=usable,
        )
    split = np.full(len(groups), SET_ASIDE, dtype=np.int8)
    split[test] = TEST
    # Train and validation come first in SPLITS, so a share's index is a split's.
    shares = np.array(FRACTIONS[:2]) / sum(FRACTIONS[:2])
    split[free] = _distribute(groups[free], labels[free], shares.tolist(), seed)
    return split


def split_at_random(labels: Ints, *, seed: int = 42) -> Assigned:
    """Return for each row the index of its split, stratified by label and blind to groups."""
    rng = np.random.default_rng(seed)
    split = np.zeros(len(labels), dtype=np.int8)
    edges = np.cumsum(FRACTIONS)[:-1]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.round(edges * len(rows)).astype(int)
        for index, split_rows in enumerate(np.split(rows, cuts)):
            split[split_rows] = index
    return split


def _distribute(groups: Ints, labels: Ints, fractions: Sequence[float], seed: int) -> Ints:
    """Return for each row the index of its bin; bins get ``fractions`` of every label.

    Groups are distributed label by label, the label with the fewest groups first and the largest
    group first. Each group goes to the bin that is furthest below its share of the label; ties
    between bins of the same fraction go to the bin with the fewest rows (the greedy rule of
    stratified group folds). A label with at least as many groups of its own as there are bins is in
    every bin.
    """
    group_ids, group_of_row = np.unique(groups, return_inverse=True)
    label_count = int(labels.max()) + 1
    pairs, counts = np.unique(group_of_row * label_count + labels, return_counts=True)
    pair_group, pair_label = np.divmod(pairs, label_count)
    starts = np.searchsorted(pair_group, np.arange(len(group_ids) + 1))
    groups_of_label = np.bincount(pair_label, minlength=label_count)
    # A group with two labels is distributed with the rarer of them.
    rarest = np.lexsort((pair_label, groups_of_label[pair_label], pair_group))[starts[:-1]]
    main_label, group_sizes = pair_label[rarest], np.bincount(group_of_row)
    shuffled = np.random.default_rng(seed).permutation(len(group_ids))
    bin_of_group = np.zeros(len(group_ids), dtype=np.int64)
    filled = [[0] * label_count for _ in fractions]
    sizes = [0] * len(fractions)
    for label in np.argsort(groups_of_label, kind="stable").tolist():
        label_groups = shuffled[main_label[shuffled] == label]
        label_groups = label_groups[np.argsort(-group_sizes[label_groups], kind="stable")]
        total = int(counts[pair_label == label].sum())
        for position, group in enumerate(label_groups):
            lacking = [
                fraction * total - bin_counts[label]
                for fraction, bin_counts in zip(fractions, filled, strict=True)
            ]
            n_empty = sum(bin_counts[label] == 0 for bin_counts in filled)
            if n_empty >= len(label_groups) - position:
                lacking = [
                    lack if bin_counts[label] == 0 else -np.inf
                    for lack, bin_counts in zip(lacking, filled, strict=True)
                ]
            neediest = _neediest(lacking, fractions, sizes)
            bin_of_group[group] = neediest
            sizes[neediest] += int(group_sizes[group])
            for pair in range(starts[group], starts[group + 1]):
                filled[neediest][pair_label[pair]] += int(counts[pair])
    return bin_of_group[group_of_row]


def _neediest(lacking: list[float], fractions: Sequence[float], sizes: list[int]) -> int:
    first = lacking.index(max(lacking))
    equal = [
        number
        for number, lack in enumerate(lacking)
        if lack == lacking[first] and fractions[number] == fractions[first]
    ]
    return min(equal, key=lambda number: sizes[number])
