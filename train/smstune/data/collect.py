"""First pass of a preparation: raw rows to clean ones on disk, the unusable set aside."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from smstune.arrays import Ints
from smstune.data.copies import Copies, Held, first_copies
from smstune.data.readers.catalogue import Input
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.progress import progress
from smstune.tables.columns import Columns
from smstune.tables.row import TableRow
from smstune.tables.times import with_offset
from smstune.text.normalize import MAX_CHARACTERS, preprocess


def encode(column: pa.ChunkedArray, codes: dict[str, int]) -> Ints:
    """Return the code of each string; ``codes`` grows by the strings it has not met."""
    encoded = column.combine_chunks().dictionary_encode()
    ours = [codes.setdefault(name, len(codes)) for name in encoded.dictionary.to_pylist()]
    found: Ints = np.array(ours, dtype=np.int64)[encoded.indices.to_numpy()]
    return found


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
# Of the longest messages these are some 100 MB.
ROWS_AT_ONCE = 2_000

logger = logging.getLogger(__name__)


@dataclass
class Collected:
    """The distinct usable messages, on disk in ``path``, and what became of the others.

    ``fixed`` marks the rows of a test set that the user gave; they come as they are, equal ones
    too.
    """

    path: Path
    labels: LabelMap
    label_ids: NDArray[np.int64]
    copies: NDArray[np.int64]
    fixed: NDArray[np.bool_]
    fingerprints: NDArray[np.uint64]
    read: int
    merged: int
    rejected: Counter[str]

    def batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Yield these columns of ``SCHEMA``, some thousand rows at a time."""
        fields = [SCHEMA.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        # Not memory-mapped: what is read of a map stays in the memory of the process.
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
    mask: bool,
    folder: Path,
    tests: Sequence[Input] = (),
) -> Collected:
    """Read all inputs into ``folder``: clean, distinct messages and ``rejected.jsonl``.

    Rows stay on disk; memory holds 13 bytes for each. Exact copies of a text are merged into the
    first of them, a text under two labels is rejected whole; rows of ``tests`` are neither. Without
    a label map, labels are those of the data in order of appearance.

    Raises:
        UserError: if no usable message or fewer than two labels are left, or a test set has none
            or a label of its own.
    """
    held = Held(label_ids={} if labels is None else labels.label2id)
    rejected: Counter[str] = Counter()
    usable, kept = folder / "usable.arrow", folder / "kept.arrow"
    with (folder / "rejected.jsonl").open("w", encoding="utf-8") as rejects:
        every = chain(((one, False) for one in inputs), ((one, True) for one in tests))
        _write_arrow(usable, _usable_rows(every, labels, columns, mask, held, rejects, rejected))
        copies = first_copies(held)
        _write_arrow(kept, _resolve_copies(usable, copies, held, rejects))
    usable.unlink()
    conflicting = len(copies.contradictory)
    rejected["the same text under two labels"] += conflicting
    ids = np.array(held.labels, dtype=np.int64)[copies.keep]
    fixed = np.array(held.fixed, dtype=np.bool_)[copies.keep]
    names = list(held.label_ids)
    _check_collected(ids, fixed, names, +rejected)
    return Collected(
        kept,
        labels or LabelMap.from_names(names),
        ids,
        copies.counts,
        fixed,
        np.array(held.fingerprints, dtype=np.uint64)[copies.keep],
        len(held.labels) + sum(rejected.values()) - conflicting,
        len(held.labels) - conflicting - len(ids),
        +rejected,
    )


def _check_collected(
    ids: NDArray[np.int64], fixed: NDArray[np.bool_], names: list[str], rejected: Counter[str]
) -> None:
    if not len(ids):
        raise UserError(
            f"expected usable messages, found none in {rejected.total()} rows: {_summary(rejected)}"
        )
    present = np.unique(ids[~fixed])
    if len(present) < 2:
        found = f"only {names[present[0]]!r}" if len(present) else "none"
        raise UserError(
            f"expected messages of at least two labels, found {found}: "
            "add messages of another label or mend the label file"
        )
    if alone := set(np.unique(ids[fixed]).tolist()) - set(present.tolist()):
        raise UserError(
            "expected labels that can be trained in the test set, found "
            f"{', '.join(names[label] for label in sorted(alone))} there only: map them in the "
            "label file or add messages of them to the other inputs"
        )


def _summary(rejected: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in rejected.most_common(5))


def _usable_rows(
    inputs: Iterable[tuple[Input, bool]],
    labels: LabelMap | None,
    columns: Columns,
    mask: bool,
    held: Held,
    rejects: TextIO,
    rejected: Counter[str],
) -> Iterator[dict[str, str | int | None]]:
    for (path, reader, source), fixed in inputs:
        before, lost = len(held.labels), rejected.total()
        for row in progress(reader(path, columns), f"reading {source}"):
            # Before any work on the text: one that no SMS can be is rejected, whatever it costs.
            unread = bool(row.problem) or len(row.text or "") > MAX_CHARACTERS
            text = "" if unread else preprocess(row.text or "", mask=mask)
            label = row.label if labels is None else labels.resolve(source, row.label or "")
            problem, detail = _problem(row, text, label)
            if problem:
                rejected[problem] += 1
                _reject(rejects, row, detail)
                continue
            held.add(text, str(label), fixed=fixed)
            yield {
                "text": text,
                "label": label,
                "source": source,
                "time": with_offset(row.time),
                "campaign": f"{source}/{row.group}" if row.group else None,
                "file": row.file,
                "line": row.line,
            }

        if fixed:
            _check_test(path, len(held.labels) - before, rejected.total() - lost)


def _check_test(path: Path, usable: int, lost: int) -> None:
    if not usable:
        raise UserError(
            f"expected usable messages in the test set {path}, found none in {lost} rows: mend the "
            "rows or the label file"
        )
    if lost:
        logger.warning(
            "warning: %d of %d rows of the test set %s cannot be used: see rejected.jsonl",
            lost,
            lost + usable,
            path,
        )


def _problem(row: TableRow, text: str, label: str | None) -> tuple[str | None, str]:
    """Return the kind of problem, to be counted, and the words for this very row."""
    if row.problem:
        return row.problem.partition(":")[0], row.problem
    if len(row.text or "") > MAX_CHARACTERS:
        kind = f"longer than {MAX_CHARACTERS} characters"
        return kind, f"{kind}, which no SMS can be: found {len(row.text or '')}"
    if not text:
        return "no text", "no text"
    if not (row.label or "").strip():
        return "no label", "no label"
    if label is None:
        return "unknown label", f"unknown label {row.label!r}: add it to the label file"
    return None, ""


def _reject(rejects: TextIO, row: TableRow, reason: str) -> None:
    # A rejected row may be rejected for its text, so only the place is written, not the words.
    place = {"file": row.file, "line": row.line, "reason": reason}
    rejects.write(json.dumps(place, ensure_ascii=False) + "\n")


def _write_arrow(path: Path, rows: Iterator[dict[str, str | int | None]]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        batch: list[dict[str, str | int | None]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_AT_ONCE:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
                batch.clear()
        writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))


def _resolve_copies(
    usable: Path, copies: Copies, held: Held, rejects: TextIO
) -> Iterator[dict[str, str | int | None]]:
    """Yield the rows to keep; write the contradictory ones to the rejects with all labels."""
    names = list(held.label_ids)
    disputed = zip(copies.contradictory, copies.texts, strict=True)
    row_number, text = next(disputed, (-1, -1))
    with pa.OSFile(str(usable)) as source, pa.ipc.open_stream(source) as reader:
        rows = (row for batch in reader for row in batch.to_pylist())
        for index, row in enumerate(rows):
            if copies.keep[index]:
                yield row
            elif index == row_number:
                found = ", ".join(sorted(names[label] for label in copies.labels(text)))
                place = TableRow(row["file"], row["line"])
                _reject(rejects, place, f"the same text under two labels: {found}")
                row_number, text = next(disputed, (-1, -1))
