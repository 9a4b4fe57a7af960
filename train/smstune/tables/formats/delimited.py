"""Text files with columns: csv, tsv, and their kin, whatever stands between the columns."""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from smstune.language import Message
from smstune.tables.decoding.encodings import clean_lines, open_text
from smstune.tables.formats.grid import NumberedCells, name_rows
from smstune.tables.header import has_role, say_once
from smstune.tables.options import TableOptions
from smstune.tables.row import RawRow

#: What stands between columns, by the suffix of the file.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_CANDIDATES = (",", "\t", ";", "|", "，")
#: Above the csv module's default limit of 128 KiB, which would make one long cell an error.
_LONGEST_CELL = 1 << 30
#: So many lines a quoted cell may have; a quotation mark without its pair is given up after them.
_LONGEST_QUOTE = 1000
#: Excel's line that names the delimiter.
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*')
#: How many lines are looked at for the delimiter, and in how many of them the header must be.
_SAMPLE = 50
_HEADER_WITHIN = 10


def read_delimited(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the rows of a file with columns.

    Row numbers count records: a cell with line breaks is in one row, as in a spreadsheet.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(path) as stream:
        lines = _Lines(clean_lines(stream))
        delimiter = find_delimiter(lines, path, options)
        yield from name_rows(path, _records(path, lines, delimiter), options, joiner=delimiter)


def has_columns(path: Path, options: TableOptions) -> bool:
    """Return whether a text file has several columns: a header, or the same tabs in each line."""
    with open_text(path) as stream:
        lines = _Lines(clean_lines(stream))
        delimiter = _sep_line(lines)
        sample = [line.rstrip("\r\n") for line in lines.head(_SAMPLE) if line.strip()]
    if delimiter or any(_named(sample, candidate, options) for candidate in _CANDIDATES):
        return True
    n_tabs = {line.rstrip("\t").count("\t") for line in sample}
    return len(sample) > 1 and len(n_tabs) == 1 and n_tabs != {0}


class _Lines:
    """The lines of a text, of which some can be looked at and put back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._waiting: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            for line in self._lines:
                yield line
                if self._waiting:
                    break
            if not self._waiting:
                return

    def head(self, number: int) -> list[str]:
        """Return the next lines without taking them."""
        lines = list(itertools.islice(self, number))
        self.put_back(lines)
        return lines

    def put_back(self, lines: Sequence[str]) -> None:
        """Let ``lines`` be the next ones."""
        self._waiting.extendleft(reversed(lines))


def find_delimiter(lines: _Lines, path: Path, options: TableOptions) -> str:
    """Return what stands between the columns; a line that names it is taken off.

    That is the character that leaves a header with known names, otherwise the one that all of the
    first lines have in the same number, otherwise that of the file's suffix.
    """
    if delimiter := _sep_line(lines):
        return delimiter
    usual = "\t" if path.suffix.lower() in (".tsv", ".txt", ".tab") else ","
    candidates = sorted(_CANDIDATES, key=lambda candidate: candidate != usual)
    sample = [line.rstrip("\r\n") for line in lines.head(_SAMPLE) if line.strip()]
    named = [candidate for candidate in candidates if _named(sample, candidate, options)]
    if named:
        return max(named, key=lambda candidate: _named(sample, candidate, options))
    for candidate in candidates:
        widths = {len(_split(line, candidate)) for line in sample}
        if len(widths) == 1 and widths != {1} and candidate != "，":
            return candidate
    return usual


def _sep_line(lines: _Lines) -> str | None:
    first = lines.head(1)
    match = _SEP_LINE.fullmatch(first[0]) if first else None
    if match is None:
        return None
    next(iter(lines))
    return match[1]


def _named(sample: Sequence[str], delimiter: str, options: TableOptions) -> int:
    """Return the number of columns of the header that a delimiter leaves; 0 without one."""
    for line in sample[:_HEADER_WITHIN]:
        cells = [cell.strip(' "') for cell in _split(line, delimiter)]
        if len(cells) > 1 and has_role(cells, options):
            return len(cells)
    return 0


def _records(path: Path, lines: _Lines, delimiter: str) -> Iterator[NumberedCells]:
    """Yield the records of a text with their numbers."""
    width = n_stray = first_stray = 0
    for number, line in enumerate(lines, 1):
        if '"' not in line:
            cells = line.rstrip("\r\n").split(delimiter)
        else:
            quoted = _quoted(line, lines, delimiter, width)
            if quoted is None:
                n_stray += 1
                first_stray = first_stray or number
                cells = _split(line, delimiter)
            else:
                cells = quoted
        width = width or len(cells)
        yield number, cells
    if n_stray:
        say_once(
            Message(
                "warning: {path}: {n_stray} rows have a quotation mark without its pair, the first "
                "in row {first_stray}: it was read as part of the text",
                path=path,
                n_stray=n_stray,
                first_stray=first_stray,
            )
        )


def _quoted(line: str, lines: _Lines, delimiter: str, width: int) -> list[str] | None:
    r"""Return the cells of a record with quotation marks, ``None`` if they are not in pairs.

    The record may go on in the next lines. Some databases write ``\"`` inside quotes for ``""``.
    """
    for escaped in (False, True) if '\\"' in line else (False,):
        record = [line]
        while True:
            cells = _parse(record, delimiter, escaped=escaped)
            is_open = cells is None
            if cells and (len(record) == 1 or not _holds_rows(record, lines, delimiter, width)):
                return cells
            if not is_open or len(record) > _LONGEST_QUOTE or not _extend(record, lines):
                break
        lines.put_back(record[1:])
    return None


def _extend(record: list[str], lines: _Lines) -> bool:
    """Add lines to a record up to one with a quotation mark; return whether there is one."""
    for line in lines:
        record.append(line)
        if '"' in line:
            return True
        if len(record) > _LONGEST_QUOTE:
            return False
    return False


def _parse(record: Sequence[str], delimiter: str, *, escaped: bool) -> list[str] | None:
    """Return the cells of a record: none if its quotes are wrong, ``None`` if one is still open."""
    lines = [line.replace('\\"', '""') for line in record] if escaped else record
    try:
        return next(csv.reader(lines, _dialect(delimiter)))
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else []


@functools.cache
def _dialect(delimiter: str) -> type[csv.Dialect]:
    """Return csv's strict dialect; it is checked once and not for every record."""
    return cast("type[csv.Dialect]", csv.reader([], delimiter=delimiter, strict=True).dialect)


def _holds_rows(record: Sequence[str], lines: _Lines, delimiter: str, width: int) -> bool:
    """Return whether the lines of a record are rows, as if two quotation marks without pair met.

    They are if each has all columns, and its first or last cell, such as a label, is also that of a
    line further down.
    """
    if width < 2 or any(line.count(delimiter) < width - 1 for line in record):
        return False
    below = {
        cell for line in (record[-1], *lines.head(_SAMPLE)) for cell in _edges(line, delimiter)
    }
    return all(below & _edges(line, delimiter) for line in record[:-1])


def _edges(line: str, delimiter: str) -> set[str]:
    cells = line.rstrip("\r\n").split(delimiter)
    return {cells[0], cells[-1]} - {""}


def _split(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line; a quotation mark counts only around a whole cell."""
    line = line.rstrip("\r\n")
    cells, position = [], 0
    quoted = re.compile(rf'"((?:[^"]|"")*)"(?={re.escape(delimiter)}|$)')
    while True:
        match = quoted.match(line, position)
        if match:
            cells.append(match[1].replace('""', '"'))
            end = match.end()
        else:
            end = line.find(delimiter, position)
            end = len(line) if end < 0 else end
            cells.append(line[position:end])
        if end >= len(line):
            return cells
        position = end + len(delimiter)
