"""Writes workbooks (.xlsx) row by row; the only file of the room that needs XlsxWriter."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import xlsxwriter

from smstune.errors import UserError
from smstune.tables.json_text import to_json
from smstune.tables.row import Cells

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

# Limits of a sheet: support.microsoft.com, "Excel specifications and limits".
#: Rows below the header.
MAX_ROWS = 1_048_575
_MAX_COLUMNS = 16_384
#: Code units of UTF-16 in a cell.
_MAX_CELL = 32_767
#: Excel shows 15 digits of a number; longer whole numbers are written as text.
_MAX_INTEGER = 10**15
_ROWS_NAMED = 5

logger = logging.getLogger(__name__)


def too_many_rows() -> UserError:
    """Return the error that more than ``MAX_ROWS`` rows are."""
    return UserError(
        "a workbook holds at most {max_rows:,} rows: write csv instead", max_rows=MAX_ROWS
    )


@contextmanager
def workbook_writer(
    path: Path, columns: Sequence[str]
) -> Iterator[Callable[[Sequence[Cells]], None]]:
    """Give a function that appends rows to the only sheet of a workbook.

    ``columns`` come first; the others are those of the first row. Text is never a formula or a
    link. The same rows give the same bytes. Nothing is at ``path`` before the end of the block.

    Raises:
        UserError: if there are too many rows or columns for a sheet.
    """
    # Its temporary files hold messages: beside the unfinished output, not in the system's folder.
    with TemporaryDirectory(dir=path.parent) as scratch:
        workbook = xlsxwriter.Workbook(
            str(path),
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "tmpdir": scratch,
                "use_zip64": True,
            },
        )
        # The time of writing would make two files of the same rows differ.
        workbook.set_properties({"created": datetime(1980, 1, 1)})
        rows = _SheetRows(workbook.add_worksheet(), columns)
        yield rows.append
        workbook.close()
        rows.warn_of_cut_cells()


class _SheetRows:
    """Appends rows to a sheet and remembers which cells were too long for it."""

    def __init__(self, sheet: Worksheet, columns: Sequence[str]) -> None:
        self._sheet = sheet
        self._columns: dict[str, int] = {}
        self._first_columns = columns
        self._n_rows = 0
        self._n_cut = 0
        self._cut_rows: list[int] = []

    def append(self, rows: Sequence[Cells]) -> None:
        """Write rows below those written before; without any, the header of the first columns."""
        if not rows and not self._columns and self._first_columns:
            self._write_header(list(self._first_columns))
        for row in rows:
            if not self._columns:
                self._write_header(list(dict.fromkeys([*self._first_columns, *row])))
            if self._n_rows == MAX_ROWS:
                raise too_many_rows()
            self._n_rows += 1
            for name, cell in row.items():
                self._write_cell(self._columns[name], cell)

    def warn_of_cut_cells(self) -> None:
        """Say how many cells were cut, and in which rows of the sheet."""
        if not self._n_cut:
            return
        rows = ", ".join(map(str, self._cut_rows))
        more = " and others" if self._n_cut > len(self._cut_rows) else ""
        logger.warning(
            "warning: %d cells with more than %s characters were cut, in row %s%s of the workbook: "
            "write csv to keep all of them",
            self._n_cut,
            f"{_MAX_CELL:,}",
            rows,
            more,
        )

    def _write_header(self, names: Sequence[str]) -> None:
        if len(names) > _MAX_COLUMNS:
            raise UserError(
                "a workbook holds at most {max_columns:,} columns, found {n_names:,}: write "
                "csv instead",
                max_columns=_MAX_COLUMNS,
                n_names=len(names),
            )
        self._columns = {name: position for position, name in enumerate(names)}
        for name, position in self._columns.items():
            self._write_cell(position, name)

    def _write_cell(self, position: int, cell: object) -> None:
        if isinstance(cell, bool):
            self._sheet.write_boolean(self._n_rows, position, cell)
        elif isinstance(cell, float):
            # A workbook has neither NaN nor infinity: the cell stays empty.
            if math.isfinite(cell):
                self._sheet.write_number(self._n_rows, position, cell)
        elif isinstance(cell, int) and abs(cell) < _MAX_INTEGER:
            self._sheet.write_number(self._n_rows, position, cell)
        elif cell is not None:
            text = to_json(cell) if isinstance(cell, (dict, list)) else str(cell)
            self._sheet.write_string(self._n_rows, position, self._cut(text))

    def _cut(self, text: str) -> str:
        if len(text) <= _MAX_CELL // 2:
            return text
        units = text.encode("utf-16-le")
        if len(units) <= 2 * _MAX_CELL:
            return text
        self._n_cut += 1
        # The sheet's row numbers count the header.
        row = self._n_rows + 1
        if row not in self._cut_rows and len(self._cut_rows) < _ROWS_NAMED:
            self._cut_rows.append(row)
        # Half of a last character is dropped.
        return units[: 2 * _MAX_CELL].decode("utf-16-le", "ignore")
