"""Workbooks: xlsx, xls and ods, read whole."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from smstune.errors import UserError
from smstune.tables.grid import NumberedCells, name_rows
from smstune.tables.header import say_once
from smstune.tables.options import TableOptions
from smstune.tables.row import RawRow

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

#: A workbook's cells take some ten times its unpacked size in memory.
_MOST_BYTES = 100 << 20


def read_workbook(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the rows of the first visible sheet, or of ``options.sheet``.

    Cells are texts, whole numbers and floats; a formula is the value that the program stored.

    Raises:
        UserError: if the workbook is damaged, protected or too large, or lacks the sheet.
    """
    sheet = _open_sheet(path, options.sheet)
    # A row of a sheet is as wide as the widest; empty cells behind are no fields.
    yield from name_rows(path, _rows(sheet), options)


def count_workbook_rows(path: Path, options: TableOptions) -> int:
    """Return the number of the last row of the sheet that would be read."""
    return _open_sheet(path, options.sheet).total_height


def _rows(sheet: CalamineSheet) -> Iterator[NumberedCells]:
    for number, cells in enumerate(sheet.to_python(skip_empty_area=False), 1):
        yield number, list(map(_plain, cells))


def _plain(cell: object) -> object:
    """Return a cell as the sheet shows it: no ``.0`` behind whole numbers, dates as text."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime):
        return str(cell.replace(microsecond=0) if cell.microsecond < 1000 else cell)
    return str(cell) if isinstance(cell, (date, time)) else cell


def _open_sheet(path: Path, name: str | None) -> CalamineSheet:
    # Only workbooks need it.
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    _check_size(path)
    try:
        workbook = CalamineWorkbook.from_path(path)
        sheets = [
            sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet
        ]
        visible = [sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible]
        names = [sheet.name for sheet in sheets]
        if not names or (name is not None and name not in names):
            raise UserError(
                f"no sheet {name or ''} in {path}: name one with --sheet: {', '.join(names)}"
            )
        chosen = name or (visible or names)[0]
        if name is None and len(visible) > 1:
            others = ", ".join(sheet for sheet in visible if sheet != chosen)
            say_once(f"{path}: reading sheet {chosen}; --sheet reads another ({others})")
        return workbook.get_sheet_by_name(chosen)
    except (CalamineError, zipfile.BadZipFile, OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a readable workbook ({error}): it may be damaged, cut short or "
            "protected by a password; save it again as xlsx or csv"
        ) from error


def _check_size(path: Path) -> None:
    """Check that a workbook is not too large to be read whole.

    Raises:
        UserError: if it is, or is no complete file.
    """
    n_bytes = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(file.file_size for file in archive.infolist())
    if n_bytes > _MOST_BYTES:
        raise UserError(
            f"{path} has {n_bytes / (1 << 20):,.0f} MB unpacked, more than the "
            f"{_MOST_BYTES >> 20} MB of a workbook that is read whole: save it as csv"
        )
