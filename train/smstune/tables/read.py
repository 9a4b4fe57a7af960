"""Reads a user's table row by row, for prepare, eval, predict and audit."""

from __future__ import annotations

import csv
import functools
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from smstune.errors import UserError
from smstune.tables.columns import UNDECODABLE, Columns, make_row, require_columns
from smstune.tables.compression import PACKED, open_bytes
from smstune.tables.encodings import has_bad_bytes, is_printable, open_text
from smstune.tables.row import Cells, TableRow

#: Standard input or output.
STANDARD = Path("-")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BUFFER = 1 << 20
#: Above the csv module's default limit of 128 KiB, which would make one long cell an error.
_LONGEST_CELL = 1 << 30

Reader = Callable[[Path, Columns], Iterator[TableRow]]


def read_rows(path: Path, columns: Columns) -> Iterator[TableRow]:
    """Yield the rows of a txt, csv, tsv, jsonl or parquet file, or of standard input (``-``).

    A txt file and standard input have one message per line; all but parquet may be .gz or .zst.

    Raises:
        UserError: if the file is missing, cannot be read, or lacks a column.
    """
    if path == STANDARD:
        return _lines(path, _standard_input(), columns)
    return READERS[table_kind(path, list(READERS), "input")](path, columns)


def check_table(path: Path, columns: Columns) -> None:
    """Check that a file exists, can be read, and has the columns and at least one row.

    Standard input cannot be read twice: only whether it is open is checked.

    Raises:
        UserError: if a check fails.
    """
    if path == STANDARD:
        _standard_input()
    elif next(read_rows(path, columns), None) is None:
        raise UserError(f"expected messages in {path}, found no row")


def _standard_input() -> Iterable[str]:
    """Return the lines of standard input; an undecodable byte becomes a lone surrogate."""
    # Closed by the caller (``<&-``), it is None.
    if sys.stdin is None:
        raise UserError("standard input is closed: redirect messages to it")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin


def table_kind(path: Path, suffixes: list[str], role: str) -> str:
    """Return the suffix of a table's format, without that of its compression.

    Raises:
        UserError: if it is not one of ``suffixes``; ``role`` is input or output.
    """
    packed = path.suffix in PACKED
    kind = path.with_suffix("").suffix if packed else path.suffix
    if kind not in suffixes or (packed and kind == ".parquet"):
        raise UserError(
            f"expected {', '.join(suffixes)} (all but parquet also as .gz or .zst) or -, "
            f"found {str(path)!r} as {role}"
        )
    return kind


def count_rows(path: Path) -> int:
    """Return the rows of a file: exact for parquet, an upper bound (its lines) for the others."""
    if path.suffix == ".parquet":
        from smstune.tables.parquet import open_parquet

        with open_parquet(path) as table:
            return int(table.metadata.num_rows)
    with open_bytes(path) as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_BUFFER), b""))


def column_names(path: Path, columns: Columns) -> list[str]:
    """Return the columns of a jsonl file, which is read for them: its rows need not have the same.

    Empty for other formats, where the first row has all columns.
    """
    if path == STANDARD or table_kind(path, list(READERS), "input") != ".jsonl":
        return []
    return list(dict.fromkeys(name for row in read_rows(path, columns) for name in row.fields))


def _read_txt(path: Path, columns: Columns) -> Iterator[TableRow]:
    with open_text(path) as stream:
        yield from _lines(path, stream, columns)


def _lines(path: Path, stream: Iterable[str], columns: Columns) -> Iterator[TableRow]:
    require_columns(path, columns, [columns.text])
    for number, line in enumerate(stream, 1):
        yield make_row(path, number, {columns.text: line.rstrip("\r\n")}, columns)


def _read_delimited(delimiter: str, path: Path, columns: Columns) -> Iterator[TableRow]:
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(path) as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        header = next(reader, [])
        require_columns(path, columns, header)
        for values in _checked(reader, path):
            if not values:
                continue
            problem = None
            if len(values) != len(header):
                problem = f"ragged row: expected {len(header)} fields, found {len(values)}"
                # Surplus fields are kept in the last column.
                last = delimiter.join(values[len(header) - 1 :])
                values = [*values[: len(header) - 1], last]
                values += [""] * (len(header) - len(values))
            fields = dict(zip(header, values, strict=True))
            yield make_row(path, reader.line_num, fields, columns, problem)


def _checked(reader: Iterable[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(
            f"{path} has a row that cannot be read ({error}): look for a quote that is not closed"
        ) from error


def _read_jsonl(path: Path, columns: Columns) -> Iterator[TableRow]:
    checked = False
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            fields, problem = _parse_object(line)
            if fields is None:
                whole = {columns.text: line.rstrip("\r\n")}
                yield make_row(path, number, whole, columns, problem)
                continue
            if not checked:
                require_columns(path, columns, list(fields))
                checked = True
            yield make_row(path, number, fields, columns, problem)


def _parse_object(line: str) -> tuple[Cells | None, str | None]:
    """Return the object in a line, if it is one, and the problem of the line, if any."""
    problem = UNDECODABLE if has_bad_bytes(line) else None
    try:
        fields = _parse_json(line)
        if not isinstance(fields, dict):
            return None, f"expected a JSON object, found {type(fields).__name__}"
        # Objects nested too deeply for this check could not be written either.
        is_printable(fields)
    except (json.JSONDecodeError, RecursionError):
        return None, problem or "not JSON"
    if isinstance(fields, _LongNumbers):
        problem = problem or "a number with too many digits"
    return fields, problem


class _LongNumbers(dict[str, object]):
    """A JSON object with a number of more digits than Python reads; the number is text."""


def _parse_json(line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses numbers of more than 4,300 digits, which take quadratic time.
        fields = json.loads(line, parse_int=_number_or_text)
        return _LongNumbers(fields) if isinstance(fields, dict) else fields


def _number_or_text(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def _read_parquet(path: Path, columns: Columns) -> Iterator[TableRow]:
    from smstune.tables.parquet import open_parquet, read_cells

    with open_parquet(path) as table:
        require_columns(path, columns, table.schema_arrow.names)
        for number, (fields, problem) in enumerate(read_cells(table), 1):
            yield make_row(path, number, fields, columns, problem)


#: The reader of each format, by the suffix of the file.
READERS: dict[str, Reader] = {
    ".txt": _read_txt,
    ".csv": functools.partial(_read_delimited, DELIMITERS[".csv"]),
    ".tsv": functools.partial(_read_delimited, DELIMITERS[".tsv"]),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
