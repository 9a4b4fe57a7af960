"""Assigns each row to a split, and sets rows aside that resemble a test set the user gave."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from smstune.arrays import Assigned, Flags, Ints
from smstune.campaigns.grouping import match
from smstune.campaigns.sketch import Sketches
from smstune.config.choices import SplitMethod
from smstune.data.assign_campaigns import Campaigns
from smstune.data.collect import Collected, encode
from smstune.data.splits.methods import (
    SET_ASIDE,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    kfold_by_group,
    split_around_test,
    split_at_random,
    split_by_group,
    split_by_time,
)
from smstune.errors import UserError
from smstune.inference.label_names import list_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitChoice:
    """How to split; ``held_out`` is for the method ``source``, ``folds`` for ``folds``."""

    method: SplitMethod = "group"
    held_out: str | None = None
    folds: int = 5
    seed: int = 42


def assign(
    choice: SplitChoice, collected: Collected, campaigns: Campaigns, sketches: Sketches
) -> Iterator[Assigned]:
    """Yield the split of each row, or SET_ASIDE: once, or once for each fold.

    Raises:
        UserError: if the messages do not allow it.
    """
    groups, labels = campaigns.groups, collected.label_ids
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
            distance = (fold - number) % choice.folds
            yield np.array([TEST, VALIDATION, TRAIN], dtype=np.int8)[distance.clip(max=2)]
    elif choice.method == "given":
        yield _as_given(collected, groups, choice.seed)
    elif choice.method == "random":
        logger.warning(
            "warning: a random split puts near-copies of one message into train and test; its "
            "scores measure memory (see contamination in manifest.json)"
        )
        yield split_at_random(labels, seed=choice.seed)
    else:
        yield split_by_group(groups, labels, seed=choice.seed)


def check_choice(choice: SplitChoice, *, has_test_set: bool) -> None:
    """Check a choice before anything is read.

    Raises:
        UserError: if it contradicts itself, or a test set that was given.
    """
    if (choice.method == "source") != (choice.held_out is not None):
        raise UserError(
            "expected --held-out SOURCE with --split source and only there: name the source that "
            "becomes the test set"
        )
    if has_test_set and choice.method != "group":
        raise UserError(
            "expected --split group with --test, found {method}: the other messages are "
            "split by group into train and validation",
            method=choice.method,
        )
    if choice.method == "folds" and choice.folds < 3:
        raise UserError(
            "expected at least 3 folds, found {folds}: one is test, one validation, the "
            "others train",
            folds=choice.folds,
        )


def _rows_of_source(name: str, collected: Collected) -> Flags:
    codes: dict[str, int] = {}
    is_of_source = [
        encode(pa.chunked_array([batch["source"]]), codes) == codes.get(name, -1)
        for batch in collected.batches("source")
    ]
    if name not in codes:
        raise UserError(
            "expected a source to hold out among {codes}, found {name!r}: name one of these",
            codes=", ".join(sorted(codes)),
            name=name,
        )
    return np.concatenate(is_of_source)


def _as_given(collected: Collected, groups: Ints, seed: int) -> Assigned:
    """Return the split that each row names; validation is drawn from train where none names it.

    It is drawn by group, an eighth of train.
    """
    codes = {split: index for index, split in enumerate(SPLITS)}
    split_of_row = np.concatenate(
        [encode(pa.chunked_array([batch["split"]]), codes) for batch in collected.batches("split")]
    ).astype(np.int8)
    for split in (TRAIN, TEST):
        if not (split_of_row == split).any():
            raise UserError(
                "no message has the split {split}: write it into the column split of the rows "
                "that belong to it",
                split=SPLITS[split],
            )
    label_ids = collected.label_ids
    untaught = np.setdiff1d(label_ids, label_ids[split_of_row == TRAIN]).tolist()
    if untaught:
        raise UserError(
            "these labels have no message whose split is train: {labels}. Join them to another "
            "label in the label file, or delete their rows",
            labels=list_names(collected.labels.names[label] for label in untaught),
        )
    if (split_of_row == VALIDATION).any():
        return split_of_row
    logger.info("no row has the split validation: campaigns of train are drawn for it")
    test = split_of_row == TEST
    return split_around_test(test, np.zeros_like(test), groups, label_ids, seed=seed)


def _around_test(
    test: Flags, groups: Ints, collected: Collected, sketches: Sketches, seed: int
) -> Assigned:
    """Split the other rows into train and validation; set aside those that resemble the test set.

    These are campaigns that also occur in test or resemble one there.
    """
    shared = np.isin(groups, groups[test])
    not_shared = np.flatnonzero(~shared)
    near = match(sketches, not_shared, np.flatnonzero(test)) >= 0
    shared |= np.isin(groups, groups[not_shared[near]])
    return split_around_test(test, shared, groups, collected.label_ids, seed=seed)


@dataclass(frozen=True)
class SetAside:
    """A row that is in no split, the test row that it resembles, and how."""

    row: int
    test_row: int
    reason: str


def explain_set_aside(assigned: Assigned, groups: Ints, sketches: Sketches) -> Iterator[SetAside]:
    """Yield the rows that were set aside, each with a test row that it resembles."""
    aside, test = np.flatnonzero(assigned == SET_ASIDE), np.flatnonzero(assigned == TEST)
    near = match(sketches, aside, test)
    test_row = np.full(len(groups), -1, dtype=np.int64)
    test_row[groups[aside[near >= 0]]] = test[near[near >= 0]]
    test_row[groups[test[::-1]]] = test[::-1]
    for row, near_copy in zip(aside.tolist(), near.tolist(), strict=True):
        if near_copy >= 0:
            yield SetAside(row, int(test[near_copy]), "near copy of a test message")
        else:
            yield SetAside(row, int(test_row[groups[row]]), "same campaign as a test message")
