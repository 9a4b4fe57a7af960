"""Writes tables row by row."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from smstune.errors import UserError
from smstune.tables.compression import open_packed
from smstune.tables.delimited import DELIMITERS
from smstune.tables.json_text import to_json
from smstune.tables.read import STANDARD, table_kind
from smstune.tables.row import Cells

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[[Sequence[Cells]], None]


def check_output(path: Path) -> None:
    """Check that a table can be written to ``path``, before any work is done for it.

    Raises:
        UserError: if ``open_writer`` does not know its suffix, it needs pyarrow, which is missing,
            or it is a folder.
    """
    if path == STANDARD:
        # Closed by the caller (``>&-``), it is None.
        if sys.stdout is None:
            raise UserError("standard output is closed: name a file as output")
        return
    if table_kind(path, [".csv", ".tsv", ".jsonl", ".parquet"], "output") == ".parquet":
        # Refuses where pyarrow, an extra, is missing.
        import_module("smstune.tables.parquet")
    if path.is_dir():
        raise UserError(f"expected a file as output, found the folder {path}: name a file in it")


@contextmanager
def open_writer(
    path: Path, scratch: Path, types: Mapping[str, pa.DataType | None] | None = None
) -> Iterator[Write]:
    """Give a function that appends rows to ``scratch``, in the format that ``path`` names.

    That is csv, tsv, jsonl (plain, .gz or .zst) or parquet; ``-`` is jsonl to standard output.
    ``types`` holds columns that some rows lack, for parquet with their types. All other columns are
    taken from the first row, all other types from the first rows.

    Raises:
        UserError: if the values of a column do not have one type, as parquet needs.
    """
    if path == STANDARD:
        yield _jsonl_writer(sys.stdout)
    elif path.suffix == ".parquet":
        from smstune.tables.parquet import parquet_writer

        with parquet_writer(scratch, types or {}) as write:
            yield write
    else:
        with (
            open_packed(scratch, path.suffix) as raw,
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
