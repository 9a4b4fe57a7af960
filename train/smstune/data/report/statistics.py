"""Counts of a prepared folder, its largest campaigns and conflicting labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """One group: distinct messages, messages with their exact copies, and what they look like."""

    group: int
    rows: int
    copies: int
    first_time: str | None
    labels: dict[str, int]
    example: str


@dataclass(frozen=True)
class LabelConflict:
    """One group whose messages bear several labels: how many each, and an example of each."""

    group: int
    rows: int
    labels: dict[str, int]
    examples: dict[str, str]


@dataclass(frozen=True)
class LabelConflicts:
    """All groups under several labels, counted, and those with the most outvoted messages.

    A message is outvoted when its label is not the most frequent one of its group.
    """

    groups: int
    rows: int
    outvoted: int
    largest: list[LabelConflict]


@dataclass
class Counts:
    """What one reading of the splits counts."""

    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # split, label, source
    lengths: Counter[tuple[str, int]] = field(default_factory=Counter)  # label, characters
    marks: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # label, source, type


@dataclass(frozen=True)
class _Tally:
    """Sizes of each group, and how many of its rows bear which label."""

    groups: Ints
    rows: Ints
    copies: Ints
    pair_group: Ints  # position in ``groups``, ascending
    pair_label: Ints  # position in ``names``
    pair_rows: Ints
    names: list[str]

    def labels(self, at: int) -> dict[str, int]:
        """Labels of a group with their rows, the most frequent first."""
        low, high = np.searchsorted(self.pair_group, [at, at + 1])
        counts = [
            (self.names[label], int(rows))
            for label, rows in zip(self.pair_label[low:high], self.pair_rows[low:high], strict=True)
        ]
        return dict(sorted(counts, key=lambda item: (-item[1], item[0])))


@dataclass
class _Detail:
    """What a second reading finds of a group."""

    first_time: str | None
    examples: dict[str, str]


def largest_campaigns(splits: Splits, top: int = 20) -> list[Campaign]:
    """Return the campaigns with most messages, exact copies counted; none of a single message."""
    tally = _count(splits)
    order = np.lexsort((tally.groups, -tally.copies))[:top]
    order = order[tally.copies[order] > 1]
    details = _details(splits, tally.groups[order])
    return [
        Campaign(
            group=int(tally.groups[at]),
            rows=int(tally.rows[at]),
            copies=int(tally.copies[at]),
            first_time=details[int(tally.groups[at])].first_time,
            labels=(labels := tally.labels(at)),
            example=details[int(tally.groups[at])].examples[next(iter(labels))],
        )
        for at in order.tolist()
    ]


def label_conflicts(splits: Splits, top: int = 20) -> LabelConflicts:
    """Return how many campaigns bear several labels, and the ``top`` with most outvoted rows."""
    tally = _count(splits)
    most = np.zeros(len(tally.groups), dtype=np.int64)
    np.maximum.at(most, tally.pair_group, tally.pair_rows)
    outvoted = tally.rows - most
    found = np.flatnonzero(outvoted)
    order = found[np.lexsort((tally.groups[found], -outvoted[found]))][:top]
    details = _details(splits, tally.groups[order])
    largest = []
    for at in order.tolist():
        group, labels = int(tally.groups[at]), tally.labels(at)
        examples = {label: details[group].examples[label] for label in labels}
        largest.append(LabelConflict(group, int(tally.rows[at]), labels, examples))
    return LabelConflicts(len(found), int(tally.rows[found].sum()), int(outvoted.sum()), largest)


def count_splits(splits: Splits, *, masked: bool) -> Counts:
    """Read the splits once; texts that are not ``masked`` yet are, for the types."""
    counts = Counts()
    for split, rows in splits.items():
        for batch in batches({split: rows}, ["text", "label", "source"]):
            text = batch["text"]
            if not masked:
                text = pa.chunked_array([[mask_pii(one) for one in text.to_pylist()]], pa.string())
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


def summed(counts: Mapping[tuple[Any, ...], int], *places: int) -> Counter[tuple[Any, ...]]:
    """Sum counts over everything but these places of their keys."""
    total: Counter[tuple[Any, ...]] = Counter()
    for key, count in counts.items():
        total[tuple(key[place] for place in places)] += count
    return total


def batches(splits: Splits, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the columns of all splits, some thousand rows at a time."""
    for rows in splits.values():
        # Not by a scanner of datasets, which reads a whole file ahead of a slow reader.
        for batch in rows.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False):
            if len(batch):
                yield pa.Table.from_batches([batch])


def take_rows(splits: Splits, rows: Ints, columns: Sequence[str]) -> pa.Table:
    """Return these rows (ascending, counted through all splits) as one table."""
    parts, start = [], 0
    for batch in batches(splits, columns):
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        if high > low:
            parts.append(batch.take(rows[low:high] - start))
        start += len(batch)
    return pa.concat_tables(parts)


def _count(splits: Splits) -> _Tally:
    codes: dict[str, int] = {}
    columns = [np.zeros((3, 0), dtype=np.int32)]
    for batch in batches(splits, ["group", "label", "copies"]):
        label = encode(batch["label"], codes)
        columns.append(np.array([batch["group"], label, batch["copies"]], dtype=np.int32))
    # A group is the number of a row: few numbers up to the largest are no group.
    group, label, copies = np.concatenate(columns, axis=1)
    rows = np.bincount(group)
    sent = np.bincount(group, copies, len(rows)).astype(np.int64)
    groups = np.flatnonzero(rows)
    label_count = max(len(codes), 1)
    pairs, pair_rows = np.unique(group.astype(np.int64) * label_count + label, return_counts=True)
    pair_group, pair_label = np.divmod(pairs, label_count)
    place = np.searchsorted(groups, pair_group)
    return _Tally(groups, rows[groups], sent[groups], place, pair_label, pair_rows, list(codes))


def _details(splits: Splits, groups: Ints) -> dict[int, _Detail]:
    """Read the splits once more for the first time and an example of each label of ``groups``."""
    found = {group: _Detail(None, {}) for group in groups.tolist()}
    for batch in batches(splits, ["group", "label", "time", "text"]):
        hits = np.flatnonzero(np.isin(batch["group"].to_numpy(), groups))
        for row in batch.take(hits).to_pylist():
            detail = found[row["group"]]
            if row["label"] not in detail.examples:
                detail.examples[row["label"]] = shown(row["text"])
            detail.first_time = _earlier(detail.first_time, row["time"])
    return found


def _earlier(known: str | None, time: str | None) -> str | None:
    read, before = read_time(time), read_time(known)
    earlier = read is not None and (before is None or read.moment < before.moment)
    return time if earlier else known
