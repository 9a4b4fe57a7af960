"""Which message goes into which split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from smstune.errors import UserError
from smstune.tables.times import parse_times

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)
#: Split index of a row that goes into no split.
SET_ASIDE = -1


def split_by_group(
    groups: NDArray[np.int64], labels: NDArray[np.int64], *, seed: int = 42
) -> NDArray[np.int8]:
    """Return for each row the index of its split in ``SPLITS``; no group straddles two.

    A label with at least three groups of its own is in all three splits (see ``_hand_out``).
    """
    return _hand_out(groups, labels, FRACTIONS, seed).astype(np.int8)


def kfold_by_group(
    groups: NDArray[np.int64], labels: NDArray[np.int64], *, folds: int = 5, seed: int = 42
) -> NDArray[np.int64]:
    """Return for each row its fold, stratified by label; no group straddles two.

    A label with at least ``folds`` groups of its own is in every fold. Where groups hold several
    labels no rule can promise more: three groups that share three labels in pairs do not go into
    two folds with every label in both.

    Raises:
        UserError: if there are fewer than two folds, or fewer groups than folds.
    """
    found = len(np.unique(groups))
    if not 2 <= folds <= found:
        raise UserError(
            f"expected at least 2 folds and a group for each, found {folds} folds and {found} "
            "groups: ask for fewer folds or add messages of other campaigns"
        )
    return _hand_out(groups, labels, (1 / folds,) * folds, seed)


def split_by_time(groups: NDArray[np.int64], times: Iterable[str | None]) -> NDArray[np.int8]:
    """Return for each row the index of its split: train before validation before test.

    A group's time is that of its first message, and no group straddles two splits, nor do groups
    of the same time. The cuts lie between two times, as near as those allow to 70 % of the rows,
    then to a third of the rest. So every campaign of test began after every campaign of train; a
    campaign of train may still have sent its last message later than that.

    Raises:
        UserError: if a row has no readable time (see ``read_time``), or the groups begin at fewer
            than three times.
    """
    moments = parse_times(times)
    if missing := int(np.isnat(moments).sum()):
        raise UserError(
            f"expected a time for every message, found none in {missing} of {len(moments)} rows: "
            "write them like 2015-03-09 11:38, 2015-03-09 or 2015-03, leave those rows out, or "
            "split by group"
        )
    _, group = np.unique(groups, return_inverse=True)
    began = np.full(int(group.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(began, group, moments.astype(np.int64))
    starts, start = np.unique(began[group], return_inverse=True)
    if len(starts) < len(SPLITS):
        raise UserError(
            f"expected campaigns that begin at three different times or more, found {len(starts)}: "
            "give finer times or split by group"
        )
    rows = np.cumsum(np.bincount(start))
    # Each cut leaves at least one time for every split that follows it.
    first = np.abs(rows[:-2] - FRACTIONS[0] * rows[-1]).argmin()
    rest = rows[-1] - rows[first]
    wanted = rows[first] + rest * FRACTIONS[1] / (FRACTIONS[1] + FRACTIONS[2])
    second = first + 1 + np.abs(rows[first + 1 : -1] - wanted).argmin()
    split: NDArray[np.int8] = np.searchsorted([first, second], start).astype(np.int8)
    return split


def split_around_test(
    test: NDArray[np.bool_],
    shared: NDArray[np.bool_],
    groups: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    seed: int = 42,
) -> NDArray[np.int8]:
    """Return for each row the index of its split: ``test`` is given, the others are handed out.

    They go into train and validation by group, seven to one, but for rows of ``shared`` groups,
    which are ``SET_ASIDE``: trained on, they would be copies of test messages. A label with at
    least two groups of its own in what remains is in both.

    Raises:
        UserError: if fewer than two groups are left for training.
    """
    free = ~(shared | test)
    usable = len(np.unique(groups[free]))
    if usable < 2:
        raise UserError(
            "expected at least two campaigns to train on that share nothing with the test set, "
            f"found {usable}: add messages of other campaigns or choose another test set"
        )
    split = np.full(len(groups), SET_ASIDE, dtype=np.int8)
    split[test] = SPLITS.index("test")
    # Train and validation come first in SPLITS, so a share's index is a split's.
    shares = np.array(FRACTIONS[:2]) / sum(FRACTIONS[:2])
    split[free] = _hand_out(groups[free], labels[free], shares.tolist(), seed)
    return split


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


def _hand_out(
    groups: NDArray[np.int64], labels: NDArray[np.int64], fractions: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Return for each row the index of its part; parts get ``fractions`` of every label.

    Groups are handed out label by label, the label with the fewest groups first and the largest
    group first, each to the part that lacks most of that label, of equal parts to the one with the
    fewest rows (the greedy rule of stratified group folds). A label with at least as many groups
    of its own as there are parts is in all of them.
    """
    group_ids, group_of_row = np.unique(groups, return_inverse=True)
    label_count = int(labels.max()) + 1
    pairs, counts = np.unique(group_of_row * label_count + labels, return_counts=True)
    owner, held = np.divmod(pairs, label_count)
    starts = np.searchsorted(owner, np.arange(len(group_ids) + 1))
    groups_of_label = np.bincount(held, minlength=label_count)
    # A campaign under two labels is handed out with the rarer of them.
    rarest = np.lexsort((held, groups_of_label[held], owner))[starts[:-1]]
    main_label, group_sizes = held[rarest], np.bincount(group_of_row)
    shuffled = np.random.default_rng(seed).permutation(len(group_ids))
    part_of_group = np.zeros(len(group_ids), dtype=np.int64)
    filled = [[0] * label_count for _ in fractions]
    sizes = [0] * len(fractions)
    for label in np.argsort(groups_of_label, kind="stable").tolist():
        mine = shuffled[main_label[shuffled] == label]
        mine = mine[np.argsort(-group_sizes[mine], kind="stable")]
        total = int(counts[held == label].sum())
        for position, group in enumerate(mine):
            lacking = [
                share * total - part[label] for share, part in zip(fractions, filled, strict=True)
            ]
            if sum(part[label] == 0 for part in filled) >= len(mine) - position:
                lacking = [
                    lack if part[label] == 0 else -np.inf
                    for lack, part in zip(lacking, filled, strict=True)
                ]
            chosen = _neediest(lacking, fractions, sizes)
            part_of_group[group] = chosen
            sizes[chosen] += int(group_sizes[group])
            for at in range(starts[group], starts[group + 1]):
                filled[chosen][held[at]] += int(counts[at])
    return part_of_group[group_of_row]


def _neediest(lacking: list[float], fractions: Sequence[float], sizes: list[int]) -> int:
    first = lacking.index(max(lacking))
    equal = [
        part
        for part, lack in enumerate(lacking)
        if lack == lacking[first] and fractions[part] == fractions[first]
    ]
    return min(equal, key=lambda part: sizes[part])


TEST = SPLITS.index("test")
