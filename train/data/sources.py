"""Readers: one public or generic format each, raw rows out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from train.command import UserError
from train.data.chifraud import chifraud_lines
from train.data.nus import nus_messages
from train.data.pii import map_fbs_placeholders
from train.data.text_files import has_bad_bytes, open_text

# The csv module's own limit of 128 KiB would end the file where one row should be rejected.
csv.field_size_limit(1 << 30)


class Columns(NamedTuple):
    """Column names of a table; ``group`` and ``time`` are read where they exist.

    So is ``label``, unless a table without it is refused: ``labelled``.
    """

    text: str = "text"
    label: str = "label"
    group: str = "group"
    time: str = "time"
    labelled: bool = True

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The names, in the order of a row's values."""
        return self[:4]


DEFAULT_COLUMNS = Columns()


class Row(NamedTuple):
    """One raw row. ``problem`` says why it cannot be used, if so; ``line`` counts from 1."""

    file: str
    line: int
    text: str | None = None
    label: str | None = None
    group: str | None = None
    time: str | None = None
    problem: str | None = None


Reader = Callable[[Path, Columns], Iterator[Row]]


def read_fbs(path: Path, _columns: Columns) -> Iterator[Row]:
    """Read the folder of FBS_SMS_Dataset: a file a label, a segmented message a line.

    Source: github.com/Cypher-Z/FBS_SMS_Dataset (Zhang et al., CCS 2020).
    """
    if not path.is_dir():
        raise UserError(f"expected the folder of FBS_SMS_Dataset, found none at {path}")
    files = sorted(
        file for file in path.iterdir() if file.is_file() and file.suffix.lower() != ".md"
    )
    if not any(file.name.startswith("FR:") for file in files):
        raise UserError(
            f"expected the files of FBS_SMS_Dataset (AD:..., FR:..., IL:..., Other), found "
            f"{', '.join(file.name for file in files[:5]) or 'no file'} in {path}"
        )
    for file in files:
        with open_text(file) as stream:
            for number, line in enumerate(stream, 1):
                problem = "undecodable bytes" if has_bad_bytes(line) else None
                text = None if problem else map_fbs_placeholders(line.strip())
                yield Row(str(file), number, text, file.name, problem=problem)


def read_nus(path: Path, _columns: Columns) -> Iterator[Row]:
    """Read the NUS SMS corpus, the zip or the XML in it; every message is ham.

    Source: github.com/kite1988/nus-sms-corpus (Chen and Kan, 2013).
    """
    for number, text, time in nus_messages(path):
        yield Row(str(path), number, text, "ham", time=time)


def read_chifraud(path: Path, _columns: Columns) -> Iterator[Row]:
    """Read ChiFraud (github.com/xuemingxxx/ChiFraud, COLING 2025), its folder or one file."""
    for file, number, text, label, problem in chifraud_lines(path):
        yield Row(file, number, text, label, problem=problem)


def read_csv(path: Path, columns: Columns) -> Iterator[Row]:
    """Read comma-separated values with a header line."""
    return _read_delimited(path, columns, ",")


def read_tsv(path: Path, columns: Columns) -> Iterator[Row]:
    """Read tab-separated values with a header line."""
    return _read_delimited(path, columns, "\t")


def _read_delimited(path: Path, columns: Columns, delimiter: str) -> Iterator[Row]:
    with open_text(path) as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        header = next(reader, [])
        _require_columns(path, columns, header)
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                problem = f"ragged row: expected {len(header)} fields, found {len(values)}"
                yield Row(str(path), reader.line_num, problem=problem)
            elif any(map(has_bad_bytes, values)):
                yield Row(str(path), reader.line_num, problem="undecodable bytes")
            else:
                fields = dict(zip(header, values, strict=True))
                yield _row(path, reader.line_num, fields, columns)


def read_jsonl(path: Path, columns: Columns) -> Iterator[Row]:
    """Read a JSON object a line."""
    seen = False
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            fields, problem = _parse_json_object(line)
            if problem is None and not seen:
                _require_columns(path, columns, list(fields))
                seen = True
            if problem is None:
                yield _row(path, number, fields, columns)
            else:
                yield Row(str(path), number, problem=problem)


def _parse_json_object(line: str) -> tuple[dict[str, Any], str | None]:
    if has_bad_bytes(line):
        return {}, "undecodable bytes"
    try:
        fields = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return {}, "no JSON"
    if not isinstance(fields, dict):
        return {}, f"expected a JSON object, found {type(fields).__name__}"
    return fields, None


def read_parquet(path: Path, columns: Columns) -> Iterator[Row]:
    """Read a parquet file, a batch of rows at a time."""
    if not path.is_file():
        raise UserError(f"expected a parquet file, found none at {path}")
    try:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            _require_columns(path, columns, names)
            wanted = [name for name in columns.names if name in names]
            number = 0
            for batch in table.iter_batches(columns=wanted):
                for fields in batch.to_pylist():
                    number += 1
                    yield _row(path, number, fields, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"expected a parquet file, found a broken one at {path}: {error}"
        ) from error


def read_hub(path: Path, columns: Columns) -> Iterator[Row]:
    """Read every split of a data set on the Hugging Face hub; ``path`` is its id."""
    # Heavy, and of no use to the local formats.
    from datasets import ClassLabel, load_dataset

    name = str(path)
    try:
        splits = load_dataset(name)
    except Exception as error:
        raise UserError(
            f"expected a local file or a data set on the hub, could not load {name!r}: check the "
            f"path or id, set HF_ENDPOINT to a mirror, or download it and give its local path "
            f"({type(error).__name__}: {error})"
        ) from error
    for split, table in splits.items():
        _require_columns(Path(f"{name}/{split}"), columns, table.column_names)
        feature = table.features.get(columns.label)
        for number, fields in enumerate(table, 1):
            if isinstance(feature, ClassLabel) and fields[columns.label] is not None:
                fields[columns.label] = feature.int2str(fields[columns.label])
            yield _row(Path(f"{name}/{split}"), number, fields, columns)


def _require_columns(path: Path, columns: Columns, found: list[str]) -> None:
    wanted = columns.names[: 1 + columns.labelled]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(
            f"expected column {' and '.join(missing)} in {path}, found {', '.join(found)}: "
            "name yours with --text-column and --label-column"
        )


def _row(path: Path, number: int, fields: Mapping[str, Any], columns: Columns) -> Row:
    text, label, group, time = (_as_text(fields.get(name)) for name in columns.names)
    return Row(str(path), number, text, label, group, time)


def _as_text(value: Any) -> str | None:  # noqa: ANN401
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


SOURCES: dict[str, Reader] = {
    "fbs": read_fbs,
    "nus": read_nus,
    "chifraud": read_chifraud,
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "hub": read_hub,
}


class Input(NamedTuple):
    """One input of a preparation: where it is, how to read it, the name of its source."""

    path: Path
    reader: Reader
    source: str


def parse_input(text: str, default: str | None = None) -> Input:
    """Read ``[SOURCE:]PATH``; without a prefix by ``default``, else by what the path is.

    The source's name is the reader's for public sets, the file's stem for generic formats, so that
    two csv files are two sources.

    Raises:
        UserError: if no reader fits, naming those there are.
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix in SOURCES and not Path(text).exists():
        name, path = prefix, Path(rest)
    else:
        path = Path(text)
        name = default or _guess_reader(path)
    if name not in SOURCES:
        raise UserError(f"expected a source of {', '.join(SOURCES)}, found {name!r} for {text}")
    generic = name in ("csv", "tsv", "jsonl", "parquet")
    return Input(
        path, SOURCES[name], path.stem if generic else str(path) if name == "hub" else name
    )


def _guess_reader(path: Path) -> str:
    suffix = path.suffix.lower().lstrip(".")
    if path.is_dir():
        return "fbs"
    if path.exists():
        return {"zip": "nus", "xml": "nus", "json": "jsonl"}.get(suffix, suffix)
    if len(path.parts) == 2 and suffix not in SOURCES:
        return "hub"
    raise UserError(f"expected a file, a folder or a data set's id, found nothing at {path}")
