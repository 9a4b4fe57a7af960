"""Loads the messages to evaluate: a split of the run's data, or a raw file, labelled or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smstune.campaigns.grouping import campaign_groups
from smstune.data.prepared import load_split
from smstune.data.readers.catalogue import parse_input
from smstune.data.splits.methods import SPLITS
from smstune.errors import UserError
from smstune.evaluation.evaluated import LabelledSet
from smstune.files import file_hash
from smstune.inference.label_names import LabelCounts, list_names
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import Manifest, TextOptions
from smstune.language import Message
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow, cell_text
from smstune.tables.times import CHINA, read_time


@dataclass(frozen=True)
class ReadCounts:
    """How many rows of a raw file can be used.

    ``messages`` can be used, ``unusable`` rows cannot; ``unknown`` counts messages whose label the
    run does not have.
    """

    messages: int
    unusable: int
    unknown: int


def load_prepared(
    manifest: Manifest, labels: LabelMap, split: str, slices: Sequence[str] = ()
) -> LabelledSet:
    """Load a split of the data that the run was trained on, and none other.

    Raises:
        UserError: if the data is another, or lacks a column of ``slices``.
    """
    folder = Path(manifest.data.path)
    table = load_split(folder, split)
    if file_hash(folder / f"{split}.parquet") != manifest.data.sha256[f"{split}.parquet"]:
        raise UserError(
            "expected the data that the run was trained on, found another {split}.parquet in "
            "{folder}: restore it, train again, or give labelled messages with --data",
            split=split,
            folder=folder,
        )
    truth = _label_ids(table["label"], labels.label2id, f"{folder}/{split}.parquet")
    columns = {"source": list(table["source"]), **_months(list(table["time"]))}
    for name in slices:
        if name not in table.column_names:
            raise _no_column(name, f"{folder}/{split}.parquet", table.column_names)
        columns[name] = ["" if value is None else str(value) for value in table[name]]
    return LabelledSet(split, list(table["text"]), truth, np.array(table["group"]), columns)


def load_raw(
    path: Path,
    labels: LabelMap,
    text: TextOptions,
    *,
    options: TableOptions = TableOptions(),
    slices: Sequence[str] = (),
) -> LabelledSet:
    """Read a raw labelled file the way ``prepare`` does, keeping every row.

    Raises:
        UserError: if a row is unusable or unlabelled, or a column of ``slices`` is missing.
    """
    rows = _read(path, options)
    source = parse_input(str(path)).source
    bad = [row for row in rows if row.problem or not row.text or not row.label]
    if bad or not rows:
        if not bad:
            raise UserError(
                "expected labelled messages in {path}, found none: check the file", path=path
            )
        raise UserError(
            "expected labelled messages in {path}, found line {line}: {problem}: fix the row, or "
            "run smstune prepare on the file, which skips such rows",
            path=path,
            line=bad[0].line,
            problem=bad[0].problem or Message("no text or no label"),
        )
    raw = [row.text or "" for row in rows]
    texts = [text.preprocess(message) for message in raw]
    truth = _label_ids([row.label or "" for row in rows], labels.ids_of_texts(), str(path))
    slice_columns = {"source": [source] * len(rows), **_months([row.time for row in rows])}
    for name in slices:
        if not any(name in row.fields for row in rows):
            raise _no_column(name, str(path), list(rows[0].fields))
        values = [cell_text(row.fields.get(name)) for row in rows]
        slice_columns[name] = [value or "" for value in values]
    return LabelledSet(_set_name(path), texts, truth, campaign_groups(texts), slice_columns, raw)


def load_new(
    path: str,
    labels: LabelMap,
    preprocess: Callable[[Sequence[str]], list[str]],
    options: TableOptions = TableOptions(),
) -> tuple[LabelledSet, ReadCounts]:
    """Read ``[SOURCE:]PATH``, anything that ``prepare`` reads, with or without labels.

    The set holds the distinct messages, as prepared data has them; label and month are those of a
    message's first copy.

    Raises:
        UserError: if there is no text column, or not one usable message.
    """
    source = parse_input(path)
    rows = list(source.reader(source.path, replace(options, labelled=False)))
    usable = [row for row in rows if not row.problem and row.text]
    clean = preprocess([row.text or "" for row in usable])
    first_rows: dict[str, TableRow] = {}
    for message, row in zip(clean, usable, strict=True):
        first_rows.setdefault(message, row)
    empty = clean.count("")
    first_rows.pop("", None)
    if not first_rows:
        bad = next((row for row in rows if row.problem), None)
        if bad is None:
            raise UserError(
                "expected messages in {path}, found none in {n_rows} rows: check the file and "
                "--text-column",
                path=path,
                n_rows=len(rows),
            )
        raise UserError(
            "expected messages in {path}, found none in {n_rows} rows, line {line}: {problem}: "
            "check the file and --text-column",
            path=path,
            n_rows=len(rows),
            line=bad.line,
            problem=bad.problem,
        )
    texts = list(first_rows)
    months = _months([row.time for row in first_rows.values()])
    label_ids = labels.ids_of_texts()
    truth = np.array([label_ids.get(row.label or "", -1) for row in first_rows.values()])
    labelled = np.array([bool(row.label) for row in first_rows.values()])
    counts = ReadCounts(
        messages=len(usable) - empty,
        unusable=len(rows) - len(usable) + empty,
        unknown=int((labelled & (truth < 0)).sum()),
    )
    name = _set_name(source.path)
    return LabelledSet(name, texts, truth, campaign_groups(texts), months), counts


def _set_name(path: Path) -> str:
    # A file called test.csv must not take the place of the test split's evaluation.
    return path.name if path.stem in SPLITS else path.stem


def _read(path: Path, options: TableOptions) -> list[TableRow]:
    source = parse_input(str(path))
    return list(source.reader(source.path, options))


def _no_column(name: str, path: str, columns: Sequence[str]) -> UserError:
    if not columns:
        return UserError(
            "evaluation.slices: expected a column {name} in {path}: name one that exists, or "
            "evaluate with evaluation.slices=[]",
            name=name,
            path=path,
        )
    return UserError(
        "evaluation.slices: expected a column {name} in {path}, found {columns}: name one that "
        "exists, or evaluate with evaluation.slices=[]",
        name=name,
        path=path,
        columns=", ".join(columns),
    )


def _months(times: Sequence[str | None]) -> dict[str, list[str]]:
    months = [_month(time) for time in times]
    return {"month": months} if any(months) else {}


def _month(text: str | None) -> str:
    time = read_time(text)
    return "" if time is None else f"{time.moment.astimezone(CHINA):%Y-%m}"


def _label_ids(names: Sequence[str], label_ids: Mapping[str, int], where: str) -> NDArray[np.int64]:
    unknown = LabelCounts()
    for name in names:
        if name not in label_ids:
            unknown.add(name)
    if unknown.rows:
        raise UserError(
            "{where}: the run was not trained on these labels: {unknown}. It has {labels}: correct "
            "the labels, or delete these rows",
            where=where,
            unknown=unknown.listed(),
            labels=list_names(label_ids),
        )
    return np.array([label_ids[name] for name in names], dtype=np.int64)
