"""First pass of a preparation: raw rows to clean ones on disk, the unusable set aside."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset
from numpy.typing import NDArray
from tqdm import tqdm

from train.command import UserError
from train.data.labels import LabelMap
from train.data.sources import Columns, Input, Row
from train.data.text import preprocess

#: Longest message an SMS can carry: 255 segments of 67 UCS-2 characters (3GPP TS 23.040).
MAX_CHARACTERS = 255 * 67

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
_BATCH = 20_000


@dataclass
class Collected:
    """The distinct usable messages, memory-mapped, and what became of the others."""

    table: Dataset
    labels: LabelMap
    label_ids: NDArray[np.int64]
    copies: NDArray[np.int64]
    read: int
    rejected: Counter[str]

    @property
    def merged(self) -> int:
        """How many rows were exact copies of a kept one."""
        return int(self.copies.sum()) - len(self.copies)


@dataclass
class _Columns:
    """What is held of every usable row: a fingerprint of its text and its label."""

    fingerprints: array[int] = field(default_factory=lambda: array("Q"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    label_ids: dict[str, int] = field(default_factory=dict)

    def add(self, text: str, label: str) -> None:
        self.fingerprints.append(xxhash.xxh3_64_intdigest(text.encode()))
        self.labels.append(self.label_ids.setdefault(label, len(self.label_ids)))


def collect(
    inputs: Sequence[Input],
    labels: LabelMap | None,
    columns: Columns,
    *,
    mask: bool,
    folder: Path,
) -> Collected:
    """Read all inputs into ``folder``: clean, distinct messages and ``rejected.jsonl``.

    Rows stay on disk; memory holds 12 bytes for each. Exact copies of a text are merged into the
    first of them, a text under two labels is rejected whole. Without a label map, labels are those
    of the data in order of appearance.

    Raises:
        UserError: if no usable message or fewer than two labels are left.
    """
    held = _Columns(label_ids={} if labels is None else labels.label2id)
    rejected: Counter[str] = Counter()
    usable = folder / "usable.arrow"
    with (folder / "rejected.jsonl").open("w", encoding="utf-8") as rejects:
        rows = _usable_rows(inputs, labels, columns, mask, held, rejects, rejected)
        _write_arrow(usable, rows)
        names = list(held.label_ids)
        keep, conflicting, copies = _first_copies(held)
        kept = folder / "kept.arrow"
        _write_arrow(kept, _resolve_copies(usable, keep, conflicting, names, held, rejects))
        rejected["the same text under two labels"] += int(conflicting.sum())
    usable.unlink()
    if not len(copies):
        raise UserError(
            f"expected usable messages, found none in {sum(rejected.values())} rows: "
            f"{_summary(+rejected)}"
        )
    ids = np.array(held.labels, dtype=np.int64)[keep]
    present = np.unique(ids)
    if len(present) < 2:
        raise UserError(
            f"expected messages of at least two labels, found only {names[present[0]]!r}: "
            "add messages of another label or mend the label file"
        )
    return Collected(
        Dataset.from_file(str(kept)),
        labels or LabelMap.from_names(names),
        ids,
        copies,
        len(held.labels) + sum(rejected.values()) - int(conflicting.sum()),
        +rejected,
    )


def _summary(rejected: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in rejected.most_common(5))


def _usable_rows(
    inputs: Sequence[Input],
    labels: LabelMap | None,
    columns: Columns,
    mask: bool,
    held: _Columns,
    rejects: TextIO,
    rejected: Counter[str],
) -> Iterator[dict[str, str | int | None]]:
    for path, reader, source in inputs:
        for row in tqdm(reader(path, columns), desc=f"reading {source}", unit=" messages"):
            text = "" if row.problem else preprocess(row.text or "", mask=mask)
            label = row.label if labels is None else labels.resolve(source, row.label or "")
            problem, detail = _problem(row, text, label)
            if problem:
                rejected[problem] += 1
                _reject(rejects, row, detail)
                continue
            held.add(text, str(label))
            yield {
                "text": text,
                "label": label,
                "source": source,
                "time": row.time,
                "campaign": f"{source}/{row.group}" if row.group else None,
                "file": row.file,
                "line": row.line,
            }


def _problem(row: Row, text: str, label: str | None) -> tuple[str | None, str]:
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


def _reject(rejects: TextIO, row: Row, reason: str) -> None:
    # A rejected row may be rejected for its text, so only the place is written, not the words.
    place = {"file": row.file, "line": row.line, "reason": reason}
    rejects.write(json.dumps(place, ensure_ascii=False) + "\n")


def _write_arrow(path: Path, rows: Iterator[dict[str, str | int | None]]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        batch: list[dict[str, str | int | None]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
                batch.clear()
        writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))


def _first_copies(
    held: _Columns,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Return which rows to keep, which contradict another, and the copies of each kept one."""
    labels = np.array(held.labels)
    _, first, inverse, counts = np.unique(
        np.array(held.fingerprints), return_index=True, return_inverse=True, return_counts=True
    )
    conflicting_text = np.zeros(len(first), dtype=bool)
    conflicting_text[inverse[labels != labels[first][inverse]]] = True
    conflicting = conflicting_text[inverse]
    keep = np.zeros(len(labels), dtype=bool)
    keep[first[~conflicting_text]] = True
    return keep, conflicting, counts[inverse[keep]]


def _resolve_copies(
    usable: Path,
    keep: NDArray[np.bool_],
    conflicting: NDArray[np.bool_],
    names: list[str],
    held: _Columns,
    rejects: TextIO,
) -> Iterator[dict[str, str | int | None]]:
    """Yield the rows to keep; write the contradictory ones to the rejects with both labels."""
    fingerprints = np.array(held.fingerprints)
    labels_of: dict[int, set[str]] = {}
    for index in np.flatnonzero(conflicting).tolist():
        labels_of.setdefault(fingerprints[index], set()).add(names[held.labels[index]])
    with pa.memory_map(str(usable)) as source, pa.ipc.open_stream(source) as reader:
        rows = (row for batch in reader for row in batch.to_pylist())
        for index, row in enumerate(rows):
            if keep[index]:
                yield row
            elif conflicting[index]:
                found = ", ".join(sorted(labels_of[fingerprints[index]]))
                place = Row(row["file"], row["line"])
                _reject(rejects, place, f"the same text under two labels: {found}")
