"""Writes tables row by row."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from smstune.errors import UserError
from smstune.tables.encodings import COMPRESSION
from smstune.tables.json_text import to_json
from smstune.tables.read import DELIMITERS, STANDARD, table_kind
from smstune.tables.row import Cells

#: Rows per row group of a parquet file: small row groups make it slow to read.
_ROW_GROUP = 65_536
_BUFFER = 1 << 20

Write = Callable[[Sequence[Cells]], None]

logger = logging.getLogger(__name__)


def check_output(path: Path) -> None:
    """Check that a table can be written to ``path``, before any work is done for it.

    Raises:
        UserError: if ``open_writer`` does not know its suffix, or it is a folder.
    """
    if path == STANDARD:
        # Closed by the caller (``>&-``), it is None.
        if sys.stdout is None:
            raise UserError("standard output is closed: name a file as output")
        return
    table_kind(path, [".csv", ".tsv", ".jsonl", ".parquet"], "output")
    if path.is_dir():
        raise UserError(f"expected a file as output, found the folder {path}: name a file in it")


@contextmanager
def open_writer(
    path: Path, scratch: Path, types: Mapping[str, pa.DataType] | None = None
) -> Iterator[Write]:
    """Give a function that appends rows to ``scratch``, in the format that ``path`` names.

    That is csv, tsv, jsonl (plain, .gz or .zst) or parquet; ``-`` is jsonl to standard output.
    ``types`` holds columns that some rows lack, with their types. All other columns are taken from
    the first row, all other types from the first rows.

    Raises:
        UserError: if the values of a column do not have one type, as parquet needs.
    """
    if path == STANDARD:
        yield _jsonl_writer(sys.stdout)
    elif path.suffix == ".parquet":
        with _parquet_writer(scratch, types or {}) as write:
            yield write
    else:
        packing = COMPRESSION.get(path.suffix)
        with (
            pa.output_stream(str(scratch), compression=packing, buffer_size=_BUFFER) as raw,
            io.TextIOWrapper(raw, encoding="utf-8", newline="") as stream,
        ):
            delimiter = DELIMITERS.get(table_kind(path, [*DELIMITERS, ".jsonl"], "output"))
            if delimiter:
                yield _csv_writer(stream, delimiter, list(types or ()))
            else:
                yield _jsonl_writer(stream)


def _jsonl_writer(stream: IO[str]) -> Write:
    def write(rows: Sequence[Cells]) -> None:
        for row in rows:
            stream.write(to_json(row) + "\n")

    return write


def _csv_writer(stream: IO[str], delimiter: str, columns: list[str]) -> Write:
    writer: csv.DictWriter[str] | None = None

    def write(rows: Sequence[Cells]) -> None:
        nonlocal writer
        for row in rows:
            if writer is None:
                names = list(dict.fromkeys([*columns, *row]))
                writer = csv.DictWriter(stream, names, delimiter=delimiter)
                writer.writeheader()
            cells = {
                name: to_json(cell) if isinstance(cell, (dict, list)) else cell
                for name, cell in row.items()
            }
            writer.writerow(cells)

    return write


@contextmanager
def _parquet_writer(path: Path, types: Mapping[str, pa.DataType]) -> Iterator[Write]:
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    nested_as_text: set[str] = set()

    def write(rows: Sequence[Cells]) -> None:
        nonlocal writer
        try:
            schema = _schema(rows, types) if writer is None else writer.schema
            text_columns = {field.name for field in schema if pa.types.is_string(field.type)}
            nested_as_text.update(
                name
                for name in text_columns
                if any(isinstance(row.get(name), (dict, list)) for row in rows)
            )
            table = pa.Table.from_pylist([_as_text(row, text_columns) for row in rows], schema)
        except (pa.ArrowException, OverflowError) as error:
            raise UserError(
                f"parquet needs one type per column: {error}: write jsonl instead"
            ) from error
        writer = writer or pq.ParquetWriter(path, schema)
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROW_GROUP:
            flush()

    def flush() -> None:
        if writer is not None and waiting:
            writer.write_table(pa.concat_tables(waiting))
            waiting.clear()

    try:
        yield write
        flush()
        if nested_as_text:
            logger.warning(
                "warning: parquet cannot store the mixed types of %s: lists and objects are "
                "written as JSON text",
                ", ".join(sorted(nested_as_text)),
            )
    finally:
        if writer is not None:
            writer.close()


def _as_text(row: Cells, text_columns: set[str]) -> Cells:
    """Return a row with the cells of ``text_columns`` as text: a number as JSON writes it."""
    return {name: _text(cell) if name in text_columns else cell for name, cell in row.items()}


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    text = to_json(cell)
    return None if text == "null" else text


def _schema(rows: Sequence[Cells], types: Mapping[str, pa.DataType]) -> pa.Schema:
    fields = []
    for name in dict.fromkeys([*types, *rows[0]]):
        kind = types.get(name) or pa.array([row.get(name) for row in rows]).type
        # A column without values in the first rows may have text in later ones.
        fields.append(pa.field(name, pa.string() if pa.types.is_null(kind) else kind))
    return pa.schema(fields)
