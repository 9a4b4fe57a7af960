"""Counts of a prepared folder, its largest campaigns and conflicting labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smstune.arrays import Ints
from smstune.data.collect import encode
from smstune.tables.times import read_time
from smstune.text.pii.mask import mask_pii, shown
from smstune.text.pii.placeholders import PLACEHOLDERS

ROWS_AT_ONCE = 2_000

#: Split by name, with the columns text, label, source, time, group, copies.
Splits = Mapping[str, pq.ParquetFile]


@dataclass(frozen=True)
class Campaign:
    """A group of near-duplicates: ``rows`` distinct messages, ``copies`` with exact copies counted.

    ``first_time`` is ``None`` where no message has a time; ``example`` is masked and may be cut.
    """

    group: int
    rows: int
    copies: int
    first_time: str | None
    labels: dict[str, int]
    example: str


@dataclass(frozen=True)
class LabelConflict:
    """A group whose messages have several labels: the messages of each label and an example."""

    group: int
    rows: int
    labels: dict[str, int]
    examples: dict[str, str]


@dataclass(frozen=True)
class LabelConflicts:
    """The number of groups with several labels, and those with the most outvoted messages.

    A message is outvoted when its label is not the most frequent one of its group.
    """

    groups: int
    rows: int
    outvoted: int
    largest: list[LabelConflict]


@dataclass
class Counts:
    """Counts of messages, lengths and placeholders, made in one pass over the splits."""

    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # split, label, source
    lengths: Counter[tuple[str, int]] = field(default_factory=Counter)  # label, characters
    marks: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # label, source, type


@dataclass(frozen=True)
class _GroupCounts:
    """The size of each group, and the number of its rows with each label."""

    groups: Ints
    rows: Ints
    copies: Ints
    pair_group: Ints  # position in ``groups``, ascending
    pair_label: Ints  # position in ``names``
    pair_rows: Ints
    names: list[str]

    def labels(self, position: int) -> dict[str, int]:
        """Return the labels of the group at this position with their rows, most frequent first."""
        low, high = np.searchsorted(self.pair_group, [position, position + 1])
        counts = [
            (self.names[label], int(rows))
            for label, rows in zip(self.pair_label[low:high], self.pair_rows[low:high], strict=True)
        ]
        return dict(
            sorted(counts, key=lambda label_and_rows: (-label_and_rows[1], label_and_rows[0]))
        )


@dataclass
class _Detail:
    """A group's first time and an example of each of its labels."""

    first_time: str | None
    examples: dict[str, str]


def largest_campaigns(splits: Splits, top: int = 20) -> list[Campaign]:
    """Return the campaigns with most messages, exact copies counted; none of a single message."""
    counts = _count_groups(splits)
    order = np.lexsort((counts.groups, -counts.copies))[:top]
    order = order[counts.copies[order] > 1]
    details = _details(splits, counts.groups[order])
    campaigns = []
    for position in order.tolist():
        group, labels = int(counts.groups[position]), counts.labels(position)
        campaigns.append(
            Campaign(
                group=group,
                rows=int(counts.rows[position]),
                copies=int(counts.copies[position]),
                first_time=details[group].first_time,
                labels=labels,
                example=details[group].examples[next(iter(labels))],
            )
        )
    return campaigns


def label_conflicts(splits: Splits, top: int = 20) -> LabelConflicts:
    """Return the number of campaigns with several labels, and the ``top`` by outvoted rows."""
    counts = _count_groups(splits)
    n_agreeing = np.zeros(len(counts.groups), dtype=np.int64)
    np.maximum.at(n_agreeing, counts.pair_group, counts.pair_rows)
    outvoted = counts.rows - n_agreeing
    conflicting = np.flatnonzero(outvoted)
    order = np.lexsort((counts.groups[conflicting], -outvoted[conflicting]))
    largest_positions = conflicting[order][:top]
    details = _details(splits, counts.groups[largest_positions])
    largest = []
    for position in largest_positions.tolist():
        group, labels = int(counts.groups[position]), counts.labels(position)
        examples = {label: details[group].examples[label] for label in labels}
        largest.append(LabelConflict(group, int(counts.rows[position]), labels, examples))
    return LabelConflicts(
        groups=len(conflicting),
        rows=int(counts.rows[conflicting].sum()),
        outvoted=int(outvoted.sum()),
        largest=largest,
    )


def count_splits(splits: Splits, *, masked: bool) -> Counts:
    """Count messages, lengths and placeholders; texts that are not ``masked`` are masked for it."""
    counts = Counts()
    for split, rows in splits.items():
        for batch in batches({split: rows}, ["text", "label", "source"]):
            text = batch["text"]
            if not masked:
                text = pa.chunked_array([[mask_pii(raw) for raw in text.to_pylist()]], pa.string())
            columns = {"label": batch["label"], "source": batch["source"]}
            columns["length"] = pc.utf8_length(batch["text"])
            for mark in PLACEHOLDERS:
                columns[mark] = pc.count_substring(text, mark)
            grid = pa.table(columns)
            sums = [(mark, "sum") for mark in PLACEHOLDERS]
            for row in (
                grid.group_by(["label", "source"]).aggregate([([], "count_all"), *sums]).to_pylist()
            ):
                counts.rows[split, row["label"], row["source"]] += row["count_all"]
                for mark in PLACEHOLDERS:
                    counts.marks[row["label"], row["source"], mark] += row[f"{mark}_sum"]
            lengths = grid.group_by(["label", "length"]).aggregate([([], "count_all")])
            for row in lengths.to_pylist():
                counts.lengths[row["label"], row["length"]] += row["count_all"]
    return counts


def summed(counts: Mapping[tuple[str, str, str], int], *positions: int) -> Counter[tuple[str, ...]]:
    """Sum counts over everything but these positions of their keys."""
    total = Counter[tuple[str, ...]]()
    for key, count in counts.items():
        total[tuple(key[position] for position in positions)] += count
    return total


def batches(splits: Splits, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the columns of all splits, some thousand rows at a time."""
    for rows in splits.values():
        # A scanner of datasets would read a whole file ahead of a slow consumer.
        for batch in rows.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False):
            if len(batch):
                yield pa.Table.from_batches([batch])


def take_rows(splits: Splits, rows: Ints, columns: Sequence[str]) -> pa.Table:
    """Return these rows (ascending, counted through all splits) as one table."""
    tables, start = [], 0
    for batch in batches(splits, columns):
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        if high > low:
            tables.append(batch.take(rows[low:high] - start))
        start += len(batch)
    return pa.concat_tables(tables)


def _count_groups(splits: Splits) -> _GroupCounts:
    codes: dict[str, int] = {}
    columns = [np.zeros((3, 0), dtype=np.int32)]
    for batch in batches(splits, ["group", "label", "copies"]):
        label = encode(batch["label"], codes)
        columns.append(np.array([batch["group"], label, batch["copies"]], dtype=np.int32))
    # Groups are numbered by their first row, so an array up to the largest number is dense enough.
    group, label, copies = np.concatenate(columns, axis=1)
    rows = np.bincount(group)
    sent = np.bincount(group, copies, len(rows)).astype(np.int64)
    groups = np.flatnonzero(rows)
    label_count = max(len(codes), 1)
    pairs, pair_rows = np.unique(group.astype(np.int64) * label_count + label, return_counts=True)
    pair_group, pair_label = np.divmod(pairs, label_count)
    return _GroupCounts(
        groups=groups,
        rows=rows[groups],
        copies=sent[groups],
        pair_group=np.searchsorted(groups, pair_group),
        pair_label=pair_label,
        pair_rows=pair_rows,
        names=list(codes),
    )


def _details(splits: Splits, groups: Ints) -> dict[int, _Detail]:
    """Read the splits once more for the first time and an example of each label of ``groups``."""
    details = {group: _Detail(None, {}) for group in groups.tolist()}
    for batch in batches(splits, ["group", "label", "time", "text"]):
        hits = np.flatnonzero(np.isin(batch["group"].to_numpy(), groups))
        for row in batch.take(hits).to_pylist():
            detail = details[row["group"]]
            if row["label"] not in detail.examples:
                detail.examples[row["label"]] = shown(row["text"])
            detail.first_time = _earlier(detail.first_time, row["time"])
    return details


def _earlier(first: str | None, time: str | None) -> str | None:
    moment, first_moment = read_time(time), read_time(first)
    if moment is None:
        return first
    return time if first_moment is None or moment.moment < first_moment.moment else first
