"""First pass of a preparation: raw rows in, clean distinct ones and a list of rejects out."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa

from smstune.arrays import Flags, Ints, Words
from smstune.data.copies import Copies, UsableRows, first_copies
from smstune.data.readers.catalogue import Input
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import TextOptions
from smstune.progress import progress
from smstune.tables.columns import Columns
from smstune.tables.row import TableRow
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
class Problem:
    """Why a row cannot be used: ``reason`` is counted, ``detail`` is about this very row."""

    reason: str
    detail: str


@dataclass
class Rejects:
    """Rows that cannot be used: a JSON line for each in ``stream``, their number by reason."""

    stream: TextIO
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, file: str, line: int, problem: Problem) -> None:
        """Add a row by its file and line; its text may be the problem, so it is not written."""
        record = {"file": file, "line": line, "reason": problem.detail}
        self.stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.counts[problem.reason] += 1


@dataclass(frozen=True)
class Collected:
    """The distinct usable messages, on disk in ``path``, and what became of the other rows.

    ``fixed`` marks the rows of a test set that the user gave; these are kept unchanged, duplicates
    included.
    """

    path: Path
    labels: LabelMap
    label_ids: Ints
    copies: Ints
    fixed: Flags
    fingerprints: Words
    read: int
    merged: int
    rejected: Counter[str]

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
    columns: Columns,
    *,
    text: TextOptions,
    folder: Path,
    tests: Sequence[Input] = (),
) -> Collected:
    """Read all inputs into ``folder``: clean, distinct messages and ``rejected.jsonl``.

    Rows stay on disk; memory holds 13 bytes for each. Exact copies of a text are merged into the
    first of them, and a text with several labels is rejected; neither happens to rows of ``tests``.
    Without a label map, labels are those of the data in order of appearance.

    Raises:
        UserError: if no usable message or fewer than two labels remain, or a test set has no usable
            message or a label that no other input has.
    """
    usable_rows = UsableRows(label_ids={} if labels is None else labels.label2id)
    usable_path, kept_path = folder / "usable.arrow", folder / "kept.arrow"
    clean = partial(_clean_row, labels=labels, options=text)
    with (folder / "rejected.jsonl").open("w", encoding="utf-8") as stream:
        rejects = Rejects(stream)
        inputs_and_fixed = [(input_, False) for input_ in inputs] + [(test, True) for test in tests]
        rows = _usable_rows(inputs_and_fixed, columns, clean, usable_rows, rejects)
        _write_arrow(usable_path, rows)
        n_read = len(usable_rows.labels) + rejects.counts.total()
        copies = first_copies(usable_rows)
        _write_arrow(kept_path, _resolve_copies(usable_path, copies, usable_rows, rejects))
    usable_path.unlink()
    label_ids = np.array(usable_rows.labels, dtype=np.int64)[copies.keep]
    fixed = np.array(usable_rows.fixed, dtype=np.bool_)[copies.keep]
    names = list(usable_rows.label_ids)
    _check_collected(label_ids, fixed, names, rejects.counts)
    return Collected(
        path=kept_path,
        labels=labels or LabelMap.from_names(names),
        label_ids=label_ids,
        copies=copies.counts,
        fixed=fixed,
        fingerprints=np.array(usable_rows.fingerprints, dtype=np.uint64)[copies.keep],
        read=n_read,
        merged=n_read - rejects.counts.total() - len(label_ids),
        rejected=rejects.counts,
    )


def _check_collected(
    label_ids: Ints, fixed: Flags, names: list[str], rejected: Counter[str]
) -> None:
    if not len(label_ids):
        raise UserError(
            f"expected usable messages, found none in {rejected.total()} rows: {_summary(rejected)}"
        )
    present = np.unique(label_ids[~fixed])
    if len(present) < 2:
        labels_found = f"only {names[present[0]]!r}" if len(present) else "none"
        raise UserError(
            f"expected messages of at least two labels, found {labels_found}: "
            "add messages of another label or correct the label file"
        )
    if only_in_test := set(np.unique(label_ids[fixed]).tolist()) - set(present.tolist()):
        raise UserError(
            "these labels of the test set have no message to train on: "
            f"{', '.join(names[label] for label in sorted(only_in_test))}. Map them in the label "
            "file or add messages of them to the other inputs"
        )


def _summary(rejected: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in rejected.most_common(5))


def _usable_rows(
    inputs_and_fixed: Iterable[tuple[Input, bool]],
    columns: Columns,
    clean: Callable[[TableRow, str], ArrowRow | Problem],
    usable_rows: UsableRows,
    rejects: Rejects,
) -> Iterator[ArrowRow]:
    for input_, fixed in inputs_and_fixed:
        usable_before, rejected_before = len(usable_rows.labels), rejects.counts.total()
        for row in progress(input_.reader(input_.path, columns), f"reading {input_.source}"):
            cleaned = clean(row, input_.source)
            if isinstance(cleaned, Problem):
                rejects.add(row.file, row.line, cleaned)
                continue
            usable_rows.add(str(cleaned["text"]), str(cleaned["label"]), fixed=fixed)
            yield cleaned
        if fixed:
            n_usable = len(usable_rows.labels) - usable_before
            _check_test(input_.path, n_usable, rejects.counts.total() - rejected_before)


def _check_test(path: Path, n_usable: int, n_rejected: int) -> None:
    if not n_usable:
        raise UserError(
            f"expected usable messages in the test set {path}, found none in {n_rejected} rows: "
            "correct the rows or the label file"
        )
    if n_rejected:
        logger.warning(
            "warning: %d of %d rows of the test set %s cannot be used: see rejected.jsonl",
            n_rejected,
            n_rejected + n_usable,
            path,
        )


def _clean_row(
    row: TableRow, source: str, *, labels: LabelMap | None, options: TextOptions
) -> ArrowRow | Problem:
    if row.problem:
        return Problem(row.problem.partition(":")[0], row.problem)
    # Before any work on the text, so that a huge one costs nothing.
    if len(row.text or "") > MAX_CHARACTERS:
        reason = f"longer than {MAX_CHARACTERS} characters"
        return Problem(reason, f"{reason}, which no SMS can be: found {len(row.text or '')}")
    text = options.preprocess(row.text or "")
    if not text:
        return Problem("no text", "no text")
    if not (row.label or "").strip():
        return Problem("no label", "no label")
    label = row.label if labels is None else labels.resolve(source, row.label or "")
    if label is None:
        detail = f"unknown label {row.label!r}: add it to the label file"
        return Problem("unknown label", detail)
    return {
        "text": text,
        "label": label,
        "source": source,
        "time": with_offset(row.time),
        "campaign": f"{source}/{row.group}" if row.group else None,
        "file": row.file,
        "line": row.line,
    }


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
    usable_path: Path, copies: Copies, usable_rows: UsableRows, rejects: Rejects
) -> Iterator[ArrowRow]:
    """Yield the rows to keep; reject those whose text has several labels, with all its labels."""
    names = list(usable_rows.label_ids)
    contradictory = zip(copies.contradictory, copies.texts, strict=True)
    row_number, text = next(contradictory, (-1, -1))
    reason = "the same text under two labels"
    with pa.OSFile(str(usable_path)) as stream, pa.ipc.open_stream(stream) as reader:
        rows = (row for batch in reader for row in batch.to_pylist())
        for index, row in enumerate(rows):
            if copies.keep[index]:
                yield row
            elif index == row_number:
                labels = ", ".join(sorted(names[label] for label in copies.labels(text)))
                rejects.add(row["file"], row["line"], Problem(reason, f"{reason}: {labels}"))
                row_number, text = next(contradictory, (-1, -1))
