"""A user's table, one row at a time."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from smstune.errors import UserError
from smstune.tables.encodings import COMPRESSION, has_bad_bytes, open_bytes, open_text
from smstune.tables.row import Columns, Row, make_row, require_columns


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
        require_columns(path, columns, header)
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
                yield make_row(path, reader.line_num, fields, columns)


def read_jsonl(path: Path, columns: Columns) -> Iterator[Row]:
    """Read a JSON object a line."""
    seen = False
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            fields, problem = _parse_json_object(line)
            if problem is None and not seen:
                require_columns(path, columns, list(fields))
                seen = True
            if problem is None:
                yield make_row(path, number, fields, columns)
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
            require_columns(path, columns, names)
            wanted = [name for name in columns.names if name in names]
            number = 0
            for batch in table.iter_batches(columns=wanted):
                for fields in batch.to_pylist():
                    number += 1
                    yield make_row(path, number, fields, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"expected a parquet file, found a broken one at {path}: {error}"
        ) from error


#: Where ``-`` reads from and writes to.
STANDARD = Path("-")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_READ_AT_ONCE = 4096
_BUFFER = 1 << 20


class Record(NamedTuple):
    """One row: its columns, the message, and what is odd about the row, if anything."""

    fields: dict[str, Any]
    text: str
    note: str | None = None


def read_records(path: Path, text_column: str = "text") -> Iterator[Record]:
    """Yield the rows of a txt, csv, tsv, jsonl or parquet file, or of standard input (``-``).

    A txt file and standard input hold a message a line; all but parquet may be .gz or .zst. A row
    that is bad by itself comes with a note instead of an error, so that rows in and rows out stay
    in step.

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
    return readers[table_kind(path, list(readers), "input")](path, text_column)


def check_table(path: Path, text_column: str = "text") -> None:
    """Check that a file is there, can be read and has a row and the column of the message.

    Standard input cannot be read twice, so it is not looked at.

    Raises:
        UserError: if not.
    """
    if path != STANDARD and next(read_records(path, text_column), None) is None:
        raise UserError(f"expected messages in {path}, found no row")


def table_kind(path: Path, known: list[str], role: str) -> str:
    """Return the suffix that says what the table is, compression taken off."""
    packed = path.suffix in COMPRESSION
    kind = path.with_suffix("").suffix if packed else path.suffix
    if kind not in known or (packed and kind == ".parquet"):
        raise UserError(
            f"expected {', '.join(known)} (all but parquet also as .gz or .zst) or -, "
            f"found {str(path)!r} as {role}"
        )
    return kind


def count_rows(path: Path) -> int:
    """Return how many rows the file at ``path`` has: exact for parquet, else at most its lines."""
    if path.suffix == ".parquet":
        with _open_parquet(path) as table:
            return int(table.metadata.num_rows)
    with open_bytes(path) as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_BUFFER), b""))


def column_types(path: Path) -> dict[str, pa.DataType]:
    """Return the types of a parquet file's columns; of any other file, which says none, none."""
    if path.suffix != ".parquet":
        return {}
    with _open_parquet(path) as table:
        return {field.name: field.type for field in table.schema_arrow}


def _read_txt(path: Path, _column: str) -> Iterator[Record]:
    with open_text(path) as stream:
        yield from _lines(stream)


def _lines(stream: Any) -> Iterator[Record]:  # noqa: ANN401
    for line in stream:
        yield _record({"text": line.rstrip("\r\n")}, "text")


def _read_csv(path: Path, column: str) -> Iterator[Record]:
    with open_text(path) as stream:
        reader = csv.reader(
            stream, delimiter=DELIMITERS[table_kind(path, list(DELIMITERS), "input")]
        )
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
    with _open_parquet(path) as table:
        _require_column(path, column, table.schema_arrow.names)
        for batch in table.iter_batches(_READ_AT_ONCE):
            for fields in batch.to_pylist():
                yield _record(fields, column)


@contextmanager
def _open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    if not path.is_file():
        raise UserError(f"expected a parquet file, found none at {path}")
    try:
        # Buffered, not read ahead: a row group may be larger than memory.
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as table:
            yield table
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
