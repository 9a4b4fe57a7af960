"""Tables of messages, a row at a time: every row read is written, with all its columns."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from train.command import UserError, file_written_whole
from train.data.text_files import has_bad_bytes, open_text

#: Where ``-`` reads from and writes to.
STANDARD = Path("-")


class Record(NamedTuple):
    """One row: its columns, the message, and what is odd about the row, if anything."""

    fields: dict[str, Any]
    text: str
    note: str | None = None


def read_records(path: Path, text_column: str = "text") -> Iterator[Record]:
    """Yield the rows of a txt, csv, tsv, jsonl or parquet file, or of standard input (``-``).

    A txt file and standard input hold a message a line. A row that is bad by itself comes with a
    note instead of an error, so that rows in and rows out stay in step.

    Raises:
        UserError: if the file is missing, broken as a whole, or has no such column.
    """
    if path == STANDARD:
        return _lines(sys.stdin)
    readers: dict[str, Callable[[Path, str], Iterator[Record]]] = {
        ".txt": _read_txt,
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise UserError(f"expected {', '.join(readers)} or -, found {str(path)!r} as input")
    return readers[path.suffix](path, text_column)


def _read_txt(path: Path, _column: str) -> Iterator[Record]:
    with open_text(path) as stream:
        yield from _lines(stream)


def _lines(stream: Any) -> Iterator[Record]:  # noqa: ANN401
    for line in stream:
        yield _record({"text": line.rstrip("\r\n")}, "text")


def _read_csv(path: Path, column: str) -> Iterator[Record]:
    with open_text(path) as stream:
        reader = csv.reader(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        header = next(reader, [])
        _require_column(path, column, header)
        for values in reader:
            if not values:
                continue
            note = None
            if len(values) != len(header):
                note = f"ragged row: expected {len(header)} fields, found {len(values)}"
                # Nothing is lost: what is too much stays in the last column.
                values = [*values[: len(header) - 1], ",".join(values[len(header) - 1 :])]
                values += [""] * (len(header) - len(values))
            yield _record(dict(zip(header, values, strict=True)), column, note)


def _read_jsonl(path: Path, column: str) -> Iterator[Record]:
    checked = False
    with open_text(path) as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                fields = None
            if not isinstance(fields, dict):
                yield _record({column: line.rstrip("\r\n")}, column, "no JSON object")
                continue
            if not checked:
                _require_column(path, column, list(fields))
                checked = True
            yield _record(fields, column)


def _read_parquet(path: Path, column: str) -> Iterator[Record]:
    if not path.is_file():
        raise UserError(f"expected a parquet file, found none at {path}")
    try:
        with pq.ParquetFile(path) as table:
            _require_column(path, column, table.schema_arrow.names)
            for batch in table.iter_batches():
                for fields in batch.to_pylist():
                    yield _record(fields, column)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"expected a parquet file, found a broken one at {path}: {error}"
        ) from error


def _record(fields: dict[str, Any], column: str, note: str | None = None) -> Record:
    value = fields.get(column)
    text = "" if value is None else str(value)
    if note is None and value is not None and not isinstance(value, str):
        note = f"the message is no text but {type(value).__name__}"
    if has_bad_bytes(text):
        note = "undecodable bytes left out"
        fields = {name: _printable(value) for name, value in fields.items()}
    return Record(fields, text, note)


def _printable(value: Any) -> Any:  # noqa: ANN401
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _require_column(path: Path, column: str, found: list[str]) -> None:
    if column not in found:
        raise UserError(
            f"expected column {column} in {path}, found {', '.join(found)}: "
            "name yours with --text-column"
        )


Write = Callable[[list[dict[str, Any]]], None]


@contextmanager
def open_writer(path: Path) -> Iterator[Write]:
    """Give a function that appends rows to a csv, tsv, jsonl or parquet file, or to stdout.

    The file appears whole when the block ends, or not at all. Standard output gets jsonl.

    Raises:
        UserError: on another suffix.
    """
    if path == STANDARD:
        yield _jsonl_writer(sys.stdout)
        return
    openers = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".parquet": None}
    if path.suffix not in openers:
        raise UserError(f"expected {', '.join(openers)} or -, found {str(path)!r} as output")
    with file_written_whole(path) as scratch:
        if path.suffix == ".parquet":
            with _parquet_writer(scratch) as write:
                yield write
        else:
            delimiter = openers[path.suffix]
            with scratch.open("w", encoding="utf-8", newline="") as stream:
                yield _csv_writer(stream, delimiter) if delimiter else _jsonl_writer(stream)


def _jsonl_writer(stream: IO[str]) -> Write:
    def write(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    return write


def _csv_writer(stream: IO[str], delimiter: str) -> Write:
    writer: csv.DictWriter[str] | None = None

    def write(rows: list[dict[str, Any]]) -> None:
        nonlocal writer
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(stream, list(row), delimiter=delimiter)
                writer.writeheader()
            cells = {
                name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
                for name, value in row.items()
            }
            try:
                writer.writerow(cells)
            except ValueError as error:
                raise UserError(
                    f"expected the columns {', '.join(writer.fieldnames)} in every row, found "
                    f"{', '.join(row)}: write jsonl, which takes rows of different columns"
                ) from error

    return write


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Write]:
    writer: pq.ParquetWriter | None = None

    def write(rows: list[dict[str, Any]]) -> None:
        nonlocal writer
        try:
            table = pa.Table.from_pylist(rows, None if writer is None else writer.schema)
            table = table if writer else _with_typed_columns(table)
        except pa.ArrowException as error:
            raise UserError(
                f"expected columns of one type, as parquet wants: {error}: write jsonl instead"
            ) from error
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _with_typed_columns(table: pa.Table) -> pa.Table:
    """Make text of columns that hold nothing in the first rows: later rows may hold something."""
    fields = [
        field.with_type(pa.string()) if pa.types.is_null(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
