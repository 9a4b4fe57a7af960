"""Reads a user's table row by row, for prepare, eval, predict and audit."""

from __future__ import annotations

import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.decoding.compression import open_bytes, unpacked_name
from smstune.tables.decoding.encodings import (
    UNDECODABLE,
    has_bad_bytes,
    is_printable,
    printable,
    printable_text,
)
from smstune.tables.decoding.sniff import FileKind, file_kind
from smstune.tables.formats.delimited import DELIMITERS, has_columns, read_delimited
from smstune.tables.formats.folder import folder_files, read_labelled
from smstune.tables.formats.json_rows import read_json
from smstune.tables.formats.lines import is_fasttext, line_rows, read_fasttext, read_lines
from smstune.tables.formats.phone_backup import read_phone_backup
from smstune.tables.formats.workbook import count_workbook_rows, read_workbook
from smstune.tables.formulas import without_apostrophe
from smstune.tables.header import ColumnRoles, assign_roles, say_once
from smstune.tables.labels import label_in_cell
from smstune.tables.options import Role, TableOptions
from smstune.tables.row import Cells, RawRow, TableRow, cell_text

#: Standard input or output.
STANDARD = Path("-")
#: A lone surrogate, which JSON can contain where an emoji was cut in half.
HALF_CHARACTER = Message("half a character")
_BUFFER = 1 << 20
#: The columns of so many rows are looked at: objects of JSON need not have the same.
_SAMPLE = 100
#: What a spreadsheet makes of a long number, such as a phone's.
_E_NOTATION = re.compile(r"\d(?:\.\d+)?[Ee]\+\d\d")

Reader = Callable[[Path, TableOptions], Iterator[TableRow]]
RawReader = Callable[[Path, TableOptions], Iterator[RawRow]]


def read_rows(path: Path, options: TableOptions) -> Iterator[TableRow]:
    """Yield the rows of a user's file or folder, whatever it is, or of standard input (``-``).

    Standard input has one message per line. Rows of a folder have a column ``file``.

    Raises:
        UserError: if the file is missing, cannot be read, or lacks a column.
    """
    if path == STANDARD:
        roles = ColumnRoles(options.text or "text")
        return (make_row("-", row, roles) for row in line_rows(_standard_input(), options))
    if path.is_dir():
        return _folder_rows(path, options)
    return table_rows(choose_reader(path, options)(path, options), str(path), options)


def _folder_rows(path: Path, options: TableOptions) -> Iterator[TableRow]:
    layout, files = folder_files(path, options)
    roles = ColumnRoles("text", "label", labelled=options.labelled)
    for file in files:
        if layout == "files":
            rows = read_rows(file, options)
        else:
            rows = (make_row(str(file), row, roles) for row in read_labelled(file, layout))
        name = str(file.relative_to(path))
        for row in rows:
            yield replace(row, fields={"file": name, **row.fields})


def choose_reader(path: Path, options: TableOptions) -> RawReader:
    """Return the reader for a file, by its first bytes and then by its suffix.

    Raises:
        UserError: if the file is missing, or is nothing that can be read.
    """
    if _unpacked_suffix(path) == ".parquet":
        return read_parquet
    kind = file_kind(path)
    if options.sheet is not None and kind != "workbook":
        raise UserError("--sheet is for workbooks, and {path} is none: remove it", path=path)
    if kind == "text":
        return _text_reader(path, options)
    if kind in REFUSED:
        raise UserError(REFUSED[kind], path=path)
    return READERS[kind]


def _text_reader(path: Path, options: TableOptions) -> RawReader:
    suffix = _unpacked_suffix(path)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return read_json
    if is_fasttext(path):
        return read_fasttext
    is_table = suffix in DELIMITERS or options.labelled or has_columns(path, options)
    return read_delimited if is_table else read_lines


def table_rows(rows: Iterable[RawRow], table: str, options: TableOptions) -> Iterator[TableRow]:
    """Yield rows with the roles of their columns assigned; ``table`` names them in errors.

    Raises:
        UserError: if a required column is missing.
    """
    remaining = iter(rows)
    sample = list(itertools.islice(remaining, _SAMPLE))
    if not sample:
        return
    roles = _sample_roles(sample, options, table)
    _warn_of_shortened_numbers(sample, roles.text, table)
    for row in itertools.chain(sample, remaining):
        yield make_row(table, row, roles)


def _sample_roles(sample: list[RawRow], options: TableOptions, table: str) -> ColumnRoles:
    whole = [row for row in sample if row.problem is None]
    names = list(dict.fromkeys(name for row in whole or sample for name in row.cells))
    if not whole and len(names) == 1:
        # No line is an object of JSON: the rows say what is wrong with them.
        return ColumnRoles(names[0])
    return assign_roles(names, options, table)


def read_table(path: Path, header_roles: tuple[Role, ...]) -> Iterator[RawRow]:
    """Yield the rows of a table without messages, such as a ledger, with cells that can be written.

    ``header_roles`` are the roles of which its header names at least one. A row with undecodable
    bytes has that problem.

    Raises:
        UserError: if the file is missing, is a folder or standard input, or cannot be read.
    """
    if path == STANDARD or path.is_dir():
        raise UserError("expected a file with a table, found {path}: name a file", path=path)
    options = TableOptions(header_roles=header_roles)
    rows = choose_reader(path, options)(path, options)
    sample = list(itertools.islice(rows, _SAMPLE))
    if sample:
        _warn_of_shortened_numbers(sample, "", str(path))
    for row in itertools.chain(sample, rows):
        if _is_writable(row.cells):
            yield row
        else:
            problem = row.problem or UNDECODABLE
            yield RawRow(row.number, _printable_row(row.cells), problem)


def make_row(table: str, row: RawRow, roles: ColumnRoles) -> TableRow:
    """Return a row with its text, label, group, time and split.

    A cell with undecodable bytes or a lone surrogate, which no file can store, is the row's
    problem. In the message itself a lone surrogate is not, because the normaliser drops it. The
    row's own ``fields`` can always be written.
    """
    fields, problem = row.cells, row.problem
    message = fields.get(roles.text)
    odd_text = None
    if not isinstance(message, str) and cell_text(message) is not None:
        odd_text = Message(
            "the message is not text but {type_name}", type_name=type(message).__name__
        )
    writable = _is_writable(fields)
    if not writable:
        without_message = {
            name: cell
            for name, cell in fields.items()
            if name != roles.text or not isinstance(cell, str)
        }
        if any(has_bad_bytes(str(cell)) for cell in fields.values()):
            problem = problem or UNDECODABLE
        elif not is_printable(without_message):
            problem = problem or HALF_CHARACTER
        elif problem is None:
            odd_text = HALF_CHARACTER
    label = None
    try:
        label = label_in_cell(fields.get(roles.label)) if roles.label else None
    except ValueError as error:
        problem = problem or (error.args[0] if roles.labelled else None)
    return TableRow(
        table,
        row.number,
        text=_role_text(message),
        label=_role_text(label),
        group=_role_text(fields.get(roles.group)) if roles.group else None,
        time=_role_text(fields.get(roles.time)) if roles.time else None,
        split=_role_text(fields.get(roles.split)) if roles.split else None,
        problem=problem,
        odd_text=odd_text,
        fields=fields if writable else _printable_row(fields),
    )


def _is_writable(fields: Cells) -> bool:
    try:
        # Much faster than cell by cell, if all are texts.
        "".join([*fields, *fields.values()]).encode()  # type: ignore[list-item]
    except UnicodeEncodeError:
        return False
    except TypeError:
        return is_printable(fields)
    return True


def _role_text(cell: object) -> str | None:
    text = cell if isinstance(cell, str) else cell_text(cell)
    return without_apostrophe(text) if text and text[0] == "'" else text


def _printable_row(fields: Cells) -> Cells:
    return {printable_text(name): printable(cell) for name, cell in fields.items()}


def _warn_of_shortened_numbers(sample: list[RawRow], text: str, table: str) -> None:
    """Warn of numbers that a spreadsheet shortened, in all columns but that of the text."""
    for name in sample[0].cells:
        cells = [row.cells.get(name) for row in sample] if name != text else []
        if any(isinstance(cell, str) and _E_NOTATION.fullmatch(cell.strip()) for cell in cells):
            say_once(
                Message(
                    "warning: {table}: column {name} has numbers such as 1.38E+10, which a "
                    "spreadsheet has shortened: different phone numbers look the same; export the "
                    "column as text",
                    table=table,
                    name=printable_text(name),
                )
            )


def check_table(path: Path, options: TableOptions) -> None:
    """Check that a file exists, can be read, and has the columns and at least one row.

    Standard input cannot be read twice: only whether it is open is checked.

    Raises:
        UserError: if a check fails.
    """
    if path == STANDARD:
        _standard_input()
    elif next(read_rows(path, options), None) is None:
        raise UserError("expected messages in {path}, found no row", path=path)


def _standard_input() -> Iterable[str]:
    """Return the lines of standard input; an undecodable byte becomes a lone surrogate."""
    # Closed by the caller (``<&-``), it is None.
    if sys.stdin is None:
        raise UserError("standard input is closed: redirect messages to it")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin


def count_rows(path: Path, options: TableOptions) -> int:
    """Return the rows of a file: exact for parquet, otherwise an upper bound, such as its lines."""
    if path.is_dir():
        _, files = folder_files(path, options)
        return sum(count_rows(file, options) for file in files if file.stat().st_size)
    if choose_reader(path, options) is read_parquet:
        from smstune.tables.formats.parquet import open_parquet

        with open_parquet(path) as table:
            return int(table.metadata.num_rows)
    if file_kind(path) == "workbook":
        return count_workbook_rows(path, options)
    n_lines = n_returns = 0
    with open_bytes(path) as stream:
        for chunk in iter(lambda: stream.read(_BUFFER), b""):
            n_lines += chunk.count(b"\n")
            n_returns += chunk.count(b"\r")
    # Without a line feed, lines end with a carriage return alone.
    return n_lines or n_returns


def column_names(path: Path, options: TableOptions) -> list[str]:
    """Return the columns of a JSON file or a folder, read for them: rows need not have the same.

    Empty for other formats, where the first row has all columns.
    """
    if path == STANDARD or not (path.is_dir() or choose_reader(path, options) is read_json):
        return []
    return list(dict.fromkeys(name for row in read_rows(path, options) for name in row.fields))


def has_varying_types(path: Path, options: TableOptions) -> bool:
    """Return whether the cells of a column may have different types, as in JSON and workbooks."""
    if path == STANDARD or path.is_dir():
        return path.is_dir()
    return choose_reader(path, options) in (read_json, read_workbook)


def read_parquet(path: Path, _options: TableOptions) -> Iterator[RawRow]:
    """Yield the rows of a parquet file."""
    from smstune.tables.formats.parquet import open_parquet, read_cells

    with open_parquet(path) as table:
        for number, (fields, problem) in enumerate(read_cells(table), 1):
            yield RawRow(number, fields, problem)


def _unpacked_suffix(path: Path) -> str:
    """Return the suffix of a file, or of the file that it packs, in small letters."""
    return Path(unpacked_name(path)).suffix.lower()


#: The reader of each kind of file.
READERS: dict[FileKind, RawReader] = {
    "workbook": read_workbook,
    "parquet": read_parquet,
    "json": read_json,
    "xml": read_phone_backup,
}
#: What cannot be read, and what to do.
REFUSED: dict[FileKind, str] = {
    "html": Message(
        "{path} is an HTML page, not a workbook: open it in Excel or a browser and save it as xlsx"
    ),
    "zip": Message("{path} is a document, not a table: save the messages as csv or xlsx"),
}
