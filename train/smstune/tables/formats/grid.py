"""Rows of cells without names in, rows with names out: finds the header, or does without."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.formats.empty_rows import EmptyRows
from smstune.tables.header import has_role, say_once, shown_names
from smstune.tables.options import TableOptions
from smstune.tables.row import RawRow, row_problem

#: The number of a row, as a spreadsheet shows it, and its cells.
NumberedCells = tuple[int, Sequence[object]]
#: How many rows are looked at to find the header, and what the columns hold.
_SAMPLE = 200
#: A header stands in one of the first rows; above it there may be a title.
_HEADER_WITHIN = 10
#: pandas writes its index without a name, and reads it back as ``Unnamed: 0``.
_UNNAMED = re.compile(r"(?:Unnamed: [\d.]+(?:_level_\d+)?)?")
_INDEX = re.compile(r"\d*(?:\.0)?")
#: A label is short, and messages share it.
_LONGEST_LABEL = 40


@dataclass(frozen=True)
class Header:
    """The names of the columns, ``None`` for those that are dropped, and where the data begin.

    ``number`` is that of the header's row, 0 without a header; ``above`` counts the rows of a title
    above it.
    """

    names: tuple[str | None, ...]
    number: int
    above: int = 0


def name_rows(
    path: Path, rows: Iterable[NumberedCells], options: TableOptions, *, joiner: str = " "
) -> Iterator[RawRow]:
    """Yield the rows of a table below its header, with the names of their columns.

    An empty row between others is a message without text, and is skipped where labels are needed
    unless the table has one column (``EmptyRows``). Fields beyond the last column are joined
    by ``joiner`` into it and are the row's problem, unless they are empty.

    Raises:
        UserError: if two columns have the same name, or the table has no header and it is not clear
            what is what.
    """
    numbered = iter(rows)
    sample = list(itertools.islice(numbered, _SAMPLE))
    header = find_header(path, sample, options)
    names = header.names
    width = len(names)
    column_names = [name or "" for name in names]
    drops = None in names
    repeated = 0
    empty_rows = EmptyRows(path, options)
    header_cells = next((cells for number, cells in sample if number == header.number), [""])
    first_name = header_cells[0]
    for number, cells in itertools.chain(sample, numbered):
        if number <= header.number:
            continue
        if width > 1:
            first = cells[0]
            if first == first_name and _repeats(cells, header_cells):
                repeated += 1
                continue
            if (not first or len(cells) == 1) and not any(_texts(cells)):
                empty_rows.add(number)
                continue
            if empty_rows:
                for empty_number in empty_rows.take():
                    yield RawRow(empty_number, {name: "" for name in names if name is not None})
        problem = None
        if len(cells) != width:
            cells, problem = _fitted(cells, width, joiner)
        if drops:
            fields = {
                name: cell for name, cell in zip(names, cells, strict=True) if name is not None
            }
        else:
            fields = dict(zip(column_names, cells, strict=True))
        yield RawRow(number, fields, problem)
    empty_rows.say_left_out()
    if repeated:
        say_once(
            Message("{path}: dropped {n_lines} repeated header lines", path=path, n_lines=repeated)
        )


def find_header(path: Path, sample: Sequence[NumberedCells], options: TableOptions) -> Header:
    """Return the header of a table, from its first rows.

    Raises:
        UserError: as for ``name_rows``.
    """
    filled = [(number, _texts(cells)) for number, cells in sample if any(_texts(cells))]
    if not filled:
        return Header((), 0)
    if options.header is not False:
        # Below a title the usual names still show which row is the header, if a name is misspelt.
        usual = replace(options, text=None, label=None)
        for index, (number, cells) in enumerate(filled[:_HEADER_WITHIN]):
            is_below_title = all(
                len(_filled(above)) < len(_filled(cells)) for _, above in filled[:index]
            )
            if is_below_title and (has_role(cells, options) or has_role(cells, usual)):
                if index:
                    say_once(
                        Message(
                            "{path}: the header is row {number}; the rows above it are skipped",
                            path=path,
                            number=number,
                        )
                    )
                return Header(_names(path, cells, filled[index + 1 :]), number, index)
    guessed = None
    is_of_messages = "text" in options.header_roles
    names_no_column = options.text is None and options.label is None
    if options.header is False or (is_of_messages and names_no_column):
        guessed = _guess_names([cells for _, cells in filled], options)
    if guessed is not None:
        if options.header is not False:
            say_once(
                Message(
                    "{path}: no header found; {columns} (as with --no-header)",
                    path=path,
                    columns=_described(guessed),
                )
            )
        return Header(guessed, 0)
    if options.header is False:
        raise UserError(
            "without a header it is not clear which column of {path} is the text and which the "
            "label: add a first row with text and label",
            path=path,
        )
    number, cells = filled[0]
    return Header(_names(path, cells, filled[1:]), number)


def _names(
    path: Path, cells: Sequence[str], below: Sequence[tuple[int, list[str]]]
) -> tuple[str | None, ...]:
    """Return the names in a header's cells; unnamed columns of an index, or empty, are dropped."""
    names: list[str | None] = [cell.strip(" \ufeff\t") for cell in cells]
    positions: dict[str, int] = {}
    n_dropped = 0
    for index, name in enumerate(names):
        if _UNNAMED.fullmatch(name or ""):
            column = [row[index] for _, row in below if index < len(row)]
            if all(_INDEX.fullmatch(cell) for cell in column):
                names[index] = None
                n_dropped += any(column)
                continue
            name = names[index] = f"column {index + 1}"
        first = positions.setdefault(name or "", index)
        if first != index:
            raise UserError(
                "two columns of {path} have the same name ({name}), columns {first} and {second}: "
                "rename or delete one of them",
                path=path,
                name=shown_names([name or ""]),
                first=first + 1,
                second=index + 1,
            )
    if n_dropped:
        say_once(
            Message(
                "{path}: dropped unnamed index columns: {n_dropped}",
                path=path,
                n_dropped=n_dropped,
            )
        )
    while names and names[-1] is None:
        names.pop()
    return tuple(names)


def _guess_names(
    rows: Sequence[Sequence[str]], options: TableOptions
) -> tuple[str | None, ...] | None:
    """Return names for the columns of a table without a header, ``None`` if they are not clear.

    The text is the column of the longest cells, the label the only other one whose cells are short
    and shared. Unless the user said that there is no header, the first row's label must be shared
    too, which a header's name of the label is not.
    """
    widths = [len(_filled_up_to(cells)) for cells in rows]
    width = max(set(widths), key=widths.count)
    whole = [cells for cells, n_cells in zip(rows, widths, strict=True) if n_cells == width]
    names = [f"column {index + 1}" for index in range(width)]
    if options.header is False and (options.text or options.label):
        return tuple(str(index + 1) for index in range(width))
    columns = [[cells[index] for cells in whole] for index in range(width)]
    lengths = [sum(map(len, column)) / len(column) for column in columns]
    text = lengths.index(max(lengths))
    labels = [index for index, column in enumerate(columns) if index != text and _is_label(column)]
    if options.header is not False and (width < 2 or len(labels) != 1):
        return None
    if options.header is not False and columns[labels[0]].count(rows[0][labels[0]]) < 2:
        return None
    if len(labels) == 1:
        names[labels[0]] = "label"
    elif options.labelled:
        return None
    names[text] = "text"
    return tuple(names)


def _is_label(column: Sequence[str]) -> bool:
    distinct = set(column)
    return len(distinct) <= len(column) / 2 and max(map(len, distinct)) <= _LONGEST_LABEL


def _described(names: Sequence[str | None]) -> Message:
    return Message(
        "column {text} is the text, column {label} is the label",
        text=names.index("text") + 1,
        label=names.index("label") + 1,
    )


def _fitted(cells: Sequence[object], width: int, joiner: str) -> tuple[list[object], str | None]:
    """Return as many cells as the table has columns, and the problem of the row, if any."""
    fitted = list(cells)
    while len(fitted) > width and fitted[-1] in ("", None):
        fitted.pop()
    if len(fitted) == width:
        return fitted, None
    problem = row_problem(
        Message("ragged row"),
        Message("expected {width} fields, found {n_fields}", width=width, n_fields=len(fitted)),
    )
    if len(fitted) > width:
        # Surplus fields are kept in the last column.
        fitted[width - 1 :] = [joiner.join(map(str, fitted[width - 1 :]))]
    return fitted + [""] * (width - len(fitted)), problem


def _repeats(cells: Sequence[object], header: Sequence[object]) -> bool:
    """Return whether a row is the header once more."""
    return any(header) and _filled_up_to(_texts(cells)) == _filled_up_to(_texts(header))


def _texts(cells: Sequence[object]) -> list[str]:
    return ["" if cell is None else str(cell).strip(" \t\r\n\ufeff") for cell in cells]


def _filled(cells: Sequence[str]) -> list[str]:
    return [cell for cell in cells if cell]


def _filled_up_to(cells: Sequence[str]) -> Sequence[str]:
    """Return the cells up to the last one that is not empty."""
    width = len(cells)
    while width and not cells[width - 1]:
        width -= 1
    return cells[:width]
