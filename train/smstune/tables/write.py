"""Writes tables row by row."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from smstune.errors import UserError
from smstune.files import is_stream
from smstune.tables.decoding.compression import PACKED, open_packed
from smstune.tables.formats.delimited import DELIMITERS
from smstune.tables.formulas import with_apostrophe
from smstune.tables.json_text import to_json
from smstune.tables.options import TableOptions
from smstune.tables.read import STANDARD, count_rows, read_rows
from smstune.tables.row import Cells

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[[Sequence[Cells]], None]


#: Formats of an output by suffix; those of text can be packed.
_TEXT_FORMATS = (".csv", ".tsv", ".jsonl")
#: Binary formats with the modules that write them.
_BINARY_FORMATS = {
    ".parquet": "smstune.tables.formats.parquet",
    ".xlsx": "smstune.tables.formats.workbook_writer",
}


@dataclass(frozen=True)
class OutputTable:
    """A table to write, in the format that its suffix names; ``-`` is jsonl on standard output.

    ``excel`` makes a csv that spreadsheets show as it is: with a byte order mark, and with an
    apostrophe before text that they would compute.
    """

    path: Path
    excel: bool = False

    @property
    def format(self) -> str:
        """The suffix of the format, in small letters and without that of a compression.

        Raises:
            UserError: if no table can be written under that suffix.
        """
        if self.path == STANDARD:
            return ".jsonl"
        packed = self.packing is not None
        suffix = (self.path.with_suffix("") if packed else self.path).suffix.lower()
        if suffix in _TEXT_FORMATS or (suffix in _BINARY_FORMATS and not packed):
            return suffix
        raise UserError(
            "no table can be written as {path!r}: use {text_formats} (also with .gz or .zst), "
            "{binary_formats} or -",
            path=str(self.path),
            text_formats=", ".join(_TEXT_FORMATS),
            binary_formats=", ".join(_BINARY_FORMATS),
        )

    @property
    def packing(self) -> str | None:
        """The suffix of the compression, if any."""
        suffix = self.path.suffix.lower()
        return suffix if suffix in PACKED else None


def check_output(output: OutputTable) -> None:
    """Check that a table can be written to ``output``, before any work is done for it.

    Raises:
        UserError: if its format is unknown, needs a package that is missing, or is not the csv that
            ``excel`` needs; or if it is a folder, or a pipe for a workbook.
    """
    path, suffix = output.path, output.format
    if output.excel and (suffix != ".csv" or output.packing):
        raise UserError("--excel is for outputs called .csv, found {path}", path=path)
    # Closed by the caller (``>&-``), it is None.
    if path == STANDARD and sys.stdout is None:
        raise UserError("standard output is closed: name a file as output")
    if suffix in _BINARY_FORMATS:
        # Refuses where a package, such as pyarrow of an extra, is missing.
        import_module(_BINARY_FORMATS[suffix])
    if suffix == ".xlsx" and is_stream(path):
        raise UserError(
            "a workbook cannot be written to {path}, which is no file: write csv", path=path
        )
    if path.is_dir():
        raise UserError(
            "expected a file as output, found the folder {path}: name a file in it", path=path
        )


def check_rows_fit(source: Path, options: TableOptions, output: OutputTable) -> None:
    """Check that a workbook can hold the rows of a file; standard input cannot be counted.

    Raises:
        UserError: if they are too many.
    """
    if output.format != ".xlsx" or source == STANDARD:
        return
    from smstune.tables.formats.workbook_writer import MAX_ROWS, too_many_rows

    # A csv may have fewer rows than lines. Its last line may lack the line break.
    if (
        count_rows(source, options) >= MAX_ROWS
        and sum(1 for _ in read_rows(source, options)) > MAX_ROWS
    ):
        raise too_many_rows()


@contextmanager
def open_writer(
    output: OutputTable, scratch: Path, types: Mapping[str, pa.DataType | None] | None = None
) -> Iterator[Write]:
    """Give a function that appends rows to ``scratch``, in the format of ``output``.

    ``types`` holds columns that some rows lack, for parquet with their types. All other columns are
    taken from the first row, all other types from the first rows.

    Raises:
        UserError: if the values of a column do not have one type, as parquet needs, or a workbook
            cannot hold the rows.
    """
    if output.path == STANDARD:
        yield _jsonl_writer(sys.stdout)
    elif output.format == ".parquet":
        from smstune.tables.formats.parquet import parquet_writer

        with parquet_writer(scratch, types or {}) as write:
            yield write
    elif output.format == ".xlsx":
        from smstune.tables.formats.workbook_writer import workbook_writer

        with workbook_writer(scratch, list(types or ())) as write:
            yield write
    else:
        with (
            open_packed(scratch, output.packing or "") as raw,
            io.TextIOWrapper(
                raw, encoding="utf-8-sig" if output.excel else "utf-8", newline=""
            ) as stream,
        ):
            if output.format == ".jsonl":
                yield _jsonl_writer(stream)
            else:
                yield _csv_writer(stream, output, list(types or ()))


def _jsonl_writer(stream: IO[str]) -> Write:
    def write(rows: Sequence[Cells]) -> None:
        for row in rows:
            stream.write(to_json(row) + "\n")

    return write


def _csv_writer(stream: IO[str], output: OutputTable, columns: list[str]) -> Write:
    writer: csv.DictWriter[str] | None = None
    text_of = with_apostrophe if output.excel else str

    def as_written(cell: object) -> object:
        if isinstance(cell, (dict, list)):
            return to_json(cell)
        # Numbers are no text, and None is an empty cell.
        return cell if cell is None or isinstance(cell, (int, float)) else text_of(str(cell))

    def write(rows: Sequence[Cells]) -> None:
        nonlocal writer
        for row in rows:
            if writer is None:
                names = list(dict.fromkeys([*columns, *row]))
                writer = csv.DictWriter(stream, names, delimiter=DELIMITERS[output.format])
                writer.writerow({name: text_of(name) for name in names})
            writer.writerow({name: as_written(cell) for name, cell in row.items()})

    return write
