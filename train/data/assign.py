"""Which row goes to which split: its campaign, the split drawn, copies of the test set aside."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from train.command import UserError
from train.data.campaigns import encode
from train.data.collect import Collected
from train.data.dedup import group, match
from train.data.sketch import Sketches
from train.data.split import (
    SET_ASIDE,
    SPLITS,
    kfold_by_group,
    parse_times,
    split_around_test,
    split_at_random,
    split_by_group,
    split_by_time,
)

SplitMethod = Literal["group", "time", "source", "random", "folds"]
#: Test messages that contamination is measured on, drawn at random where there are more.
TEST_SAMPLE = 20_000

_TEST = SPLITS.index("test")
_NEVER = np.iinfo(np.int64).max

Ints = NDArray[np.int64]
Assigned = NDArray[np.int8]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitChoice:
    """How to split; ``held_out`` goes with ``source``, ``folds`` with ``folds``."""

    method: SplitMethod = "group"
    held_out: str | None = None
    folds: int = 5
    seed: int = 42


BY_GROUP = SplitChoice()


class Campaigns(NamedTuple):
    """The campaign of each row, the index of its first; size and first time by that index.

    Sizes count exact copies. A time is "not a time" where no message of the campaign has one.
    """

    groups: Ints
    sizes: Ints
    began: NDArray[np.datetime64]


def find_campaigns(collected: Collected, sketches: Sketches) -> Campaigns:
    """Return near-duplicate groups, joined where the user's own column says they are one."""
    groups = _named_together(group(sketches), collected)
    sizes = np.zeros(len(groups), dtype=np.int64)
    np.add.at(sizes, groups, collected.copies)
    began = np.full(len(groups), _NEVER)
    start = 0
    for batch in collected.batches("time"):
        here = groups[start : start + len(batch)]
        start += len(batch)
        if batch["time"].null_count < len(batch):
            moments = parse_times(batch["time"].to_pylist())
            known = ~np.isnat(moments)
            np.minimum.at(began, here[known], moments[known].astype(np.int64))
    began[began == _NEVER] = np.datetime64("NaT").astype(np.int64)
    return Campaigns(groups, sizes, began.view("datetime64[s]"))


def _named_together(groups: Ints, collected: Collected) -> Ints:
    """Return the groups after those with a row of the same name became one."""
    rows, names = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    start = 0
    for batch in collected.batches("campaign"):
        here = np.flatnonzero(batch["campaign"].is_valid().to_numpy(zero_copy_only=False))
        digests = [
            xxhash.xxh3_64_intdigest(one.encode())
            for one in batch["campaign"].drop_null().to_pylist()
        ]
        rows.append(here + start)
        names.append(np.array(digests, dtype=np.uint64))
        start += len(batch)
    named = np.concatenate(rows)
    if not len(named):
        return groups
    known, at = np.unique(groups[named], return_inverse=True)
    _, name = np.unique(np.concatenate(names), return_inverse=True)
    # Rows are edges between their near-duplicate group and their named one.
    size = len(known) + int(name.max()) + 1
    ends = (at, name + len(known))
    edges = coo_array((np.ones(len(named), dtype=np.bool_), ends), shape=(size, size))
    component = connected_components(edges, directed=False)[1][: len(known)]
    # `known` is sorted, so the first group of a component is its smallest.
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    place = np.minimum(np.searchsorted(known, groups), len(known) - 1)
    return np.where(known[place] == groups, known[first[inverse]][place], groups)


def assign(
    choice: SplitChoice, collected: Collected, campaigns: Campaigns, sketches: Sketches
) -> Iterator[Assigned]:
    """Yield the split of each row, or SET_ASIDE: once, or once for each fold.

    Raises:
        UserError: if the choice contradicts itself, or the messages do not allow it.
    """
    groups, labels = campaigns.groups, collected.label_ids
    _check_choice(choice, given=bool(collected.fixed.any()))
    if collected.fixed.any():
        yield _around_test(collected.fixed, groups, collected, sketches, choice.seed)
    elif choice.held_out is not None:
        held_out = _rows_of_source(choice.held_out, collected)
        yield _around_test(held_out, groups, collected, sketches, choice.seed)
    elif choice.method == "time":
        times = (time for batch in collected.batches("time") for time in batch["time"].to_pylist())
        yield split_by_time(groups, times)
    elif choice.method == "folds":
        fold = kfold_by_group(groups, labels, folds=choice.folds, seed=choice.seed)
        for number in range(choice.folds):
            turn = (fold - number) % choice.folds
            yield np.array([_TEST, SPLITS.index("validation"), 0], dtype=np.int8)[turn.clip(max=2)]
    elif choice.method == "random":
        logger.warning(
            "warning: a random split puts near-copies of one message on both sides; its scores "
            "measure memory (see contamination in manifest.json)"
        )
        yield split_at_random(labels, seed=choice.seed)
    else:
        yield split_by_group(groups, labels, seed=choice.seed)


def _check_choice(choice: SplitChoice, *, given: bool) -> None:
    if (choice.method == "source") != (choice.held_out is not None):
        raise UserError(
            "expected --held-out SOURCE with --split source and only there: name the source that "
            "becomes the test set"
        )
    if given and choice.method != "group":
        raise UserError(
            f"expected --split group with --test, found {choice.method}: a test set that you give "
            "leaves train and validation to draw, which is done by group"
        )
    if choice.method == "folds" and choice.folds < 3:
        raise UserError(
            f"expected at least 3 folds, found {choice.folds}: one is test, one validation, the "
            "others train"
        )


def _rows_of_source(name: str, collected: Collected) -> NDArray[np.bool_]:
    codes: dict[str, int] = {}
    found = [
        encode(pa.chunked_array([batch["source"]]), codes) == codes.get(name, -1)
        for batch in collected.batches("source")
    ]
    if name not in codes:
        raise UserError(
            f"expected a source to hold out among {', '.join(sorted(codes))}, found {name!r}: "
            "name one of these"
        )
    return np.concatenate(found)


def _around_test(
    test: NDArray[np.bool_], groups: Ints, collected: Collected, sketches: Sketches, seed: int
) -> Assigned:
    """Hand out all but the test rows; set their campaigns aside, and those with a near copy."""
    shared = np.isin(groups, groups[test])
    others = np.flatnonzero(~shared)
    near = match(sketches, others, np.flatnonzero(test)) >= 0
    shared |= np.isin(groups, groups[others[near]])
    return split_around_test(test, shared, groups, collected.label_ids, seed=seed)


class SetAside(NamedTuple):
    """A row kept out of every split: the test row it is like, and in what."""

    row: int
    test_row: int
    reason: str


def explain_set_aside(assigned: Assigned, groups: Ints, sketches: Sketches) -> Iterator[SetAside]:
    """Yield the rows that were set aside, each with a test row that is the reason."""
    aside, test = np.flatnonzero(assigned == SET_ASIDE), np.flatnonzero(assigned == _TEST)
    near = match(sketches, aside, test)
    test_row = np.full(len(groups), -1, dtype=np.int64)
    test_row[groups[aside[near >= 0]]] = test[near[near >= 0]]
    test_row[groups[test[::-1]]] = test[::-1]
    for row, found in zip(aside.tolist(), near.tolist(), strict=True):
        if found >= 0:
            yield SetAside(row, int(test[found]), "near copy of a test message")
        else:
            yield SetAside(row, int(test_row[groups[row]]), "same campaign as a test message")


def measure_contamination(
    assigned: Assigned, choice: SplitChoice, collected: Collected, sketches: Sketches
) -> dict[str, Any]:
    """Return the shares of test with an exact and a near copy in train, random split beside it."""
    splits = {
        choice.method: assigned,
        "random": split_at_random(collected.label_ids, seed=choice.seed),
    }
    return {name: _copied(split, collected, sketches, choice) for name, split in splits.items()}


def _copied(
    assigned: Assigned, collected: Collected, sketches: Sketches, choice: SplitChoice
) -> dict[str, float]:
    test, train = np.flatnonzero(assigned == _TEST), np.flatnonzero(assigned == 0)
    drawn = np.random.default_rng(choice.seed).permutation(len(test))[:TEST_SAMPLE]
    test = test[np.sort(drawn)]
    known = collected.fingerprints
    exact = np.isin(known[test], known[train])
    near = exact | (match(sketches, test, train) >= 0)
    return {"exact": float(exact.mean()), "near": float(near.mean())}
