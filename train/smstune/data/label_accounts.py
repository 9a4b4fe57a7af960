"""What a preparation says of labels: unknown ones, dropped ones, rare ones and similar names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from smstune.arrays import Flags, Ints
from smstune.errors import UserError
from smstune.inference.label_names import (
    LabelCounts,
    list_counts,
    list_names,
    may_be_named,
    similar_names,
)
from smstune.inference.labels import LabelMap

#: Train, validation and test need a campaign of each label.
MIN_CAMPAIGNS = 3
#: Labels of fewer messages can hardly be learned or measured.
FEW_MESSAGES = 20

logger = logging.getLogger(__name__)


@dataclass
class UnusableLabels:
    """Labels of rejected rows: ``unknown`` to the label file, or ``in_label_file``."""

    unknown: LabelCounts = field(default_factory=LabelCounts)
    in_label_file: LabelCounts = field(default_factory=LabelCounts)

    def add(self, source_label: str | None, label: str | None) -> None:
        """Count a rejected row by its label in the data and in the label file."""
        if label is not None:
            self.in_label_file.add(label)
        elif source_label is not None:
            self.unknown.add(source_label)

    def dropped(self, usable_rows: Mapping[str, int], present: Flags) -> dict[str, int]:
        """Return the labels without a message to keep, with their rows.

        ``usable_rows`` holds the rows of each known label before exact deduplication, which
        rejects texts of several labels; ``present`` says which of them have a row that is kept.
        """
        with_messages = {
            name for name, has_row in zip(usable_rows, present.tolist(), strict=True) if has_row
        }
        names = dict.fromkeys([*usable_rows, *self.in_label_file.rows])
        return {
            name: usable_rows.get(name, 0) + self.in_label_file.rows[name]
            for name in names
            if name not in with_messages
        }

    def log(self, dropped: Mapping[str, int], *, has_label_file: bool) -> None:
        """Warn of labels that the label file lacks and of labels without a usable message."""
        if has_label_file and self.unknown.rows:
            logger.warning(
                "warning: the label file lacks these labels of the data, so their rows are "
                "rejected: %s. Add each to the `from` of the label that it belongs to",
                self.unknown.listed(),
            )
        if dropped:
            logger.warning(
                "warning: these labels are dropped, because they have no rows or all their rows "
                "were rejected (see rejected.jsonl): %s",
                list_counts(dropped),
            )


def log_names(names: Iterable[str], unknown: Iterable[str], *, has_label_file: bool) -> None:
    """Say how ids are given without a label file, and which names differ only in case or width."""
    label_names = list(names)
    if not has_label_file:
        logger.info(
            "no label file: the ids of the labels follow their sorted names: %s",
            list_names(label_names),
        )
    for similar in similar_names([*label_names, *unknown]):
        if may_be_named(similar):
            logger.warning(
                "warning: these labels differ only in case or width: %s. If they are the same "
                "label, list both in `from` of a label file",
                ", ".join(similar),
            )


def rare_labels(labels: LabelMap, label_ids: Ints, groups: Ints) -> dict[str, int]:
    """Return the labels of fewer than ``MIN_CAMPAIGNS`` campaigns, with their campaigns.

    ``label_ids`` and ``groups`` hold the label and the campaign of each row.
    """
    pairs = np.unique(np.stack([label_ids, groups]), axis=1)
    campaigns = np.bincount(pairs[0], minlength=len(labels.names))
    return {
        name: count
        for name, count in zip(labels.names, campaigns.tolist(), strict=True)
        if count < MIN_CAMPAIGNS
    }


def rare_label_error(campaigns_by_label: Mapping[str, int]) -> UserError:
    """Return the error that names labels of too few campaigns and the ways out."""
    return UserError(
        "each label needs at least {min_campaigns} campaigns (near-copies of a message are one), "
        "for train, validation and test. Too few have: {labels}. Join them to another label in "
        "the label file (--labels), or drop them with --drop-rare",
        min_campaigns=MIN_CAMPAIGNS,
        labels=list_counts(campaigns_by_label, "campaign"),
    )


def warn_of_few_messages(labels: LabelMap, label_ids: Ints) -> None:
    """Warn of labels with fewer than ``FEW_MESSAGES`` messages."""
    counts = np.bincount(label_ids, minlength=len(labels.names)).tolist()
    few = {
        name: count
        for name, count in zip(labels.names, counts, strict=True)
        if count < FEW_MESSAGES
    }
    if few:
        logger.warning(
            "warning: labels of fewer than %d messages can hardly be learned or measured: %s",
            FEW_MESSAGES,
            list_counts(few, "message"),
        )
