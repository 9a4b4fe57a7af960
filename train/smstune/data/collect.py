"""First pass of a preparation: raw rows in, clean distinct ones and a list of rejects out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from smstune.arrays import Flags, Ints, Words
from smstune.config.choices import SplitName
from smstune.data.copies import Copies, UsableRows, first_copies
from smstune.data.label_accounts import UnusableLabels, log_names
from smstune.data.readers.catalogue import Input
from smstune.data.rejects import Problem, Rejects, RowCount
from smstune.errors import UserError
from smstune.inference.label_names import list_names, may_be_named
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import TextOptions
from smstune.language import Message, joined
from smstune.progress import progress
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow, problem_kind
from smstune.tables.times import with_offset
from smstune.text.normalize import MAX_CHARACTERS


def encode(column: pa.ChunkedArray, codes: dict[str, int]) -> Ints:
    """Return the code of each string; strings that ``codes`` lacks are added to it."""
    encoded = column.combine_chunks().dictionary_encode()
    code_of_entry = [codes.setdefault(name, len(codes)) for name in encoded.dictionary.to_pylist()]
    column_codes: Ints = np.array(code_of_entry, dtype=np.int64)[encoded.indices.to_numpy()]
    return column_codes


SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "label": pa.string(),
        "source": pa.string(),
        "time": pa.string(),
        "campaign": pa.string(),
        "split": pa.string(),
        "file": pa.string(),
        "line": pa.int64(),
    }
)
# At most about 100 MB, if every message has the maximum length.
ROWS_AT_ONCE = 2_000
#: A row of ``SCHEMA``.
ArrowRow = dict[str, str | int | None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnusableRow:
    """Why a row cannot be used, and its label in the data and in the label file, if any."""

    problem: Problem
    source_label: str | None
    label: str | None


@dataclass(frozen=True)
class FirstPass:
    """What the first pass over the rows fills: usable rows, rejected rows, labels of the latter."""

    usable_rows: UsableRows
    rejects: Rejects
    unusable: UnusableLabels


@dataclass(frozen=True)
class Collected:
    """The distinct usable messages, on disk in ``path``, and what became of the other rows.

    ``fixed`` marks the rows of a test set that the user gave; these are kept unchanged, duplicates
    included. ``dropped_labels`` are those of the label file that no message has.
    """

    path: Path
    labels: LabelMap
    dropped_labels: tuple[str, ...]
    label_ids: Ints
    copies: Ints
    fixed: Flags
    fingerprints: Words
    read: int
    merged: RowCount
    rejected: dict[str, RowCount]

    def batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Yield these columns of ``SCHEMA``, some thousand rows at a time."""
        fields = [SCHEMA.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        # Not memory-mapped: pages read through a map count as this process's memory.
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file, options=options) as reader:
            yield from reader

    def texts(self) -> Iterator[str]:
        """Yield the text of each row."""
        for batch in self.batches("text"):
            yield from batch["text"].to_pylist()


def collect(
    inputs: Sequence[Input],
    labels: LabelMap | None,
    options: TableOptions,
    *,
    text: TextOptions,
    folder: Path,
    tests: Sequence[Input] = (),
) -> Collected:
    """Read all inputs into ``folder``: clean, distinct messages and ``rejected.jsonl``.

    Rows stay on disk; memory holds 13 bytes for each. Exact copies of a text are merged into the
    first of them, and a text with several labels is rejected; neither happens to rows of ``tests``,
    nor to any row where ``options.split`` names the column that holds the split of each. Without a
    label map, labels are those of the data, sorted. Labels without a message to keep are dropped.
    What was rejected, merged or dropped is logged.

    Raises:
        UserError: if no usable message or fewer than two labels remain, or a test set has no usable
            message or a label that no other input has.
    """
    usable_rows = UsableRows(label_ids={} if labels is None else labels.label2id)
    usable_path, kept_path = folder / "usable.arrow", folder / "kept.arrow"
    clean = partial(_clean_row, labels=labels, text=text, split_column=options.split)
    unusable, merged = UnusableLabels(), RowCount()
    with (folder / "rejected.jsonl").open("w", encoding="utf-8") as stream:
        rejects = Rejects(stream)
        inputs_and_fixed = [(input_, False) for input_ in inputs] + [(test, True) for test in tests]
        first_pass = FirstPass(usable_rows, rejects, unusable)
        _write_arrow(usable_path, _usable_rows(inputs_and_fixed, options, clean, first_pass))
        n_read = len(usable_rows.labels) + rejects.total()
        copies = first_copies(usable_rows, keep_all=options.split is not None)
        _write_arrow(kept_path, _resolve_copies(usable_path, copies, usable_rows, rejects, merged))
    usable_path.unlink()
    keep = copies.keep
    names = list(usable_rows.label_ids)
    rows_of_label = np.bincount(np.array(usable_rows.labels, dtype=np.int64), minlength=len(names))
    _log_rows(n_read, int(keep.sum()), merged, rejects.by_reason)
    label_ids = np.array(usable_rows.labels, dtype=np.int64)[keep]
    present = np.bincount(label_ids, minlength=len(names)) > 0
    dropped = unusable.dropped(dict(zip(names, rows_of_label.tolist(), strict=True)), present)
    unusable.log(dropped, has_label_file=labels is not None)
    fixed = np.array(usable_rows.fixed, dtype=np.bool_)[keep]
    _check_collected(label_ids, fixed, names, rejects.by_reason)
    label_map = (labels or LabelMap.from_names(sorted(names))).without(dropped)
    log_names(label_map.names, unusable.unknown.rows, has_label_file=labels is not None)
    # Dropped labels get the id 0, which no row has.
    new_ids = np.array([label_map.label2id.get(name, 0) for name in names], dtype=np.int64)
    return Collected(
        path=kept_path,
        labels=label_map,
        dropped_labels=tuple(dropped) if labels else (),
        label_ids=new_ids[label_ids],
        copies=copies.counts,
        fixed=fixed,
        fingerprints=np.array(usable_rows.fingerprints, dtype=np.uint64)[keep],
        read=n_read,
        merged=merged,
        rejected=rejects.by_reason,
    )


def drop_labels(collected: Collected, names: Iterable[str], reason: Message) -> Collected:
    """Reject the messages of these labels, in ``rejected.jsonl`` too, and return the rest.

    Raises:
        UserError: if fewer than two labels remain.
    """
    dropped = set(names)
    labels = collected.labels.without(dropped)
    path = collected.path.with_name("common.arrow")
    with path.with_name("rejected.jsonl").open("a", encoding="utf-8") as stream:
        rejects = Rejects(stream, collected.rejected)
        _write_arrow(path, _rows_of_other_labels(collected, dropped, rejects, reason))
    path.replace(collected.path)
    is_kept = ~np.isin(collected.label_ids, [collected.labels.label2id[name] for name in dropped])
    new_ids = np.array([labels.label2id.get(name, 0) for name in collected.labels.names])
    return replace(
        collected,
        labels=labels,
        dropped_labels=(*collected.dropped_labels, *sorted(dropped)),
        label_ids=new_ids[collected.label_ids[is_kept]],
        copies=collected.copies[is_kept],
        fixed=collected.fixed[is_kept],
        fingerprints=collected.fingerprints[is_kept],
    )


def _rows_of_other_labels(
    collected: Collected, dropped: set[str], rejects: Rejects, reason: Message
) -> Iterator[ArrowRow]:
    for batch in collected.batches(*SCHEMA.names):
        for row in batch.to_pylist():
            if row["label"] in dropped:
                rejects.add(row["file"], row["line"], Problem(reason, reason))
            else:
                yield row


def _log_rows(read: int, kept: int, merged: RowCount, rejected: Mapping[str, RowCount]) -> None:
    n_rejected = sum(rows.count for rows in rejected.values())
    logger.info(
        "read %s rows: kept %s, merged %s copies, rejected %s",
        f"{read:,}",
        f"{kept:,}",
        f"{merged.count:,}",
        f"{n_rejected:,}",
    )
    not_kept = {**rejected, Message("copy of an earlier message"): merged}
    files = {file for rows in not_kept.values() for file, _ in rows.first}
    for reason, rows in sorted(not_kept.items(), key=lambda item: -item[1].count):
        if rows.count:
            described = rows.describe(with_files=len(files) > 1)
            logger.info("  %s x %s: %s", f"{rows.count:,}", reason, described)
    if rejected:
        logger.info("  file, line and reason of each rejected row are in rejected.jsonl")


def _check_collected(
    label_ids: Ints, fixed: Flags, names: list[str], rejected: Mapping[str, RowCount]
) -> None:
    if not len(label_ids):
        n_rejected = sum(rows.count for rows in rejected.values())
        raise UserError(
            "expected usable messages, found none in {n_rejected} rows: {reasons}",
            n_rejected=n_rejected,
            reasons=_summary(rejected),
        )
    present = np.unique(label_ids[~fixed])
    if len(present) < 2:
        if len(present):
            raise UserError(
                "expected messages of at least two labels, found only {label}: "
                "add messages of another label or correct the label file",
                label=list_names([names[present[0]]]),
            )
        raise UserError(
            "expected messages of at least two labels, found none: "
            "add messages of another label or correct the label file"
        )
    if only_in_test := set(np.unique(label_ids[fixed]).tolist()) - set(present.tolist()):
        raise UserError(
            "these labels of the test set have no message to train on: {labels}. Map them in the "
            "label file or add messages of them to the other inputs",
            labels=list_names(names[label] for label in sorted(only_in_test)),
        )


def _summary(rejected: Mapping[str, RowCount]) -> Message:
    by_count = sorted(rejected.items(), key=lambda item: -item[1].count)
    counted = [
        Message("{count} x {reason}", count=rows.count, reason=reason)
        for reason, rows in by_count[:5]
    ]
    return joined(counted, ", ")


def _usable_rows(
    inputs_and_fixed: Iterable[tuple[Input, bool]],
    options: TableOptions,
    clean: Callable[[TableRow, str], ArrowRow | UnusableRow],
    first_pass: FirstPass,
) -> Iterator[ArrowRow]:
    usable_rows, rejects = first_pass.usable_rows, first_pass.rejects
    for input_, fixed in inputs_and_fixed:
        usable_before, rejected_before = len(usable_rows.labels), rejects.total()
        stage = Message("reading {source}", source=input_.source)
        for row in progress(input_.reader(input_.path, options), stage):
            cleaned = clean(row, input_.source)
            if isinstance(cleaned, UnusableRow):
                rejects.add(row.file, row.line, cleaned.problem)
                first_pass.unusable.add(cleaned.source_label, cleaned.label)
                continue
            usable_rows.add(str(cleaned["text"]), str(cleaned["label"]), fixed=fixed)
            yield cleaned
        if fixed:
            n_usable = len(usable_rows.labels) - usable_before
            _check_test(input_.path, n_usable, rejects.total() - rejected_before)


def _check_test(path: Path, n_usable: int, n_rejected: int) -> None:
    if not n_usable:
        raise UserError(
            "expected usable messages in the test set {path}, found none in {n_rejected} rows: "
            "correct the rows or the label file",
            path=path,
            n_rejected=n_rejected,
        )
    if n_rejected:
        logger.warning(
            "warning: %d of %d rows of the test set %s cannot be used: see rejected.jsonl",
            n_rejected,
            n_rejected + n_usable,
            path,
        )


def _clean_row(
    row: TableRow,
    source: str,
    *,
    labels: LabelMap | None,
    text: TextOptions,
    split_column: str | None,
) -> ArrowRow | UnusableRow:
    source_label = row.label
    label = labels.resolve(source, row.label) if labels and row.label else row.label

    def unusable(reason: str, detail: str | None = None) -> UnusableRow:
        return UnusableRow(Problem(reason, detail or reason), source_label, label)

    if row.problem:
        return unusable(problem_kind(row.problem), row.problem)
    # Before any work on the text, so that a huge one costs nothing.
    if len(row.text or "") > MAX_CHARACTERS:
        detail = Message(
            "longer than {max_characters} characters, which no SMS can be: found {n_characters}",
            max_characters=MAX_CHARACTERS,
            n_characters=len(row.text or ""),
        )
        return unusable(Message("longer than an SMS can be"), detail)
    message = text.preprocess(row.text or "")
    if not message:
        return unusable(Message("no text"))
    if not row.label:
        return unusable(Message("no label"))
    if label is None:
        return unusable(Message("unknown label"), _unknown_label(row.label))
    split = (row.split or "").strip() if split_column else None
    if split_column and split not in get_args(SplitName):
        return unusable(Message("no split"), _unknown_split(split_column, split or ""))
    return {
        "text": message,
        "label": label,
        "source": source,
        "time": with_offset(row.time),
        "campaign": f"{source}/{row.group}" if row.group else None,
        "split": split,
        "file": row.file,
        "line": row.line,
    }


def _unknown_label(label: str) -> Message:
    if may_be_named([label]):
        return Message("unknown label {label!r}: add it to the label file", label=label)
    return Message(
        "unknown label of {n_characters} characters: add it to the label file",
        n_characters=len(label),
    )


def _unknown_split(column: str, split: str) -> Message:
    if may_be_named([split]):
        return Message(
            "the column {column} must be train, validation or test, found {split!r}",
            column=column,
            split=split,
        )
    return Message(
        "the column {column} must be train, validation or test, found {n_characters} characters",
        column=column,
        n_characters=len(split),
    )


def _write_arrow(path: Path, rows: Iterator[ArrowRow]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        batch: list[ArrowRow] = []
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_AT_ONCE:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
                batch.clear()
        writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))


def _resolve_copies(
    usable_path: Path,
    copies: Copies,
    usable_rows: UsableRows,
    rejects: Rejects,
    merged: RowCount,
) -> Iterator[ArrowRow]:
    """Yield the rows to keep; reject those whose text has several labels, with all its labels.

    The others, copies of a row that is kept, are counted in ``merged``.
    """
    names = list(usable_rows.label_ids)
    contradictory = zip(copies.contradictory, copies.texts, strict=True)
    row_number, text = next(contradictory, (-1, -1))
    reason = Message("the same text under two labels")
    with pa.OSFile(str(usable_path)) as stream, pa.ipc.open_stream(stream) as reader:
        rows = (row for batch in reader for row in batch.to_pylist())
        for index, row in enumerate(rows):
            if copies.keep[index]:
                yield row
            elif index == row_number:
                labels = ", ".join(sorted(names[label] for label in copies.labels(text)))
                detail = Message("{reason}: {labels}", reason=reason, labels=labels)
                rejects.add(row["file"], row["line"], Problem(reason, detail))
                row_number, text = next(contradictory, (-1, -1))
            else:
                merged.add(row["file"], row["line"])
