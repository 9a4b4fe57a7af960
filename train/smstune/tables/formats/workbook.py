"""Workbooks: xlsx, xls and ods, read whole."""

from __future__ import annotations

import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.decoding.compression import unpacked_file
from smstune.tables.formats.grid import NumberedCells, name_rows
from smstune.tables.header import say_once
from smstune.tables.options import TableOptions
from smstune.tables.row import RawRow

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

#: A workbook's cells take some ten times its unpacked size in memory.
_MOST_BYTES = 100 << 20
_READ_ALL = (
    "import sys, python_calamine\n"
    "workbook = python_calamine.CalamineWorkbook.from_path(sys.argv[1])\n"
    "for name in workbook.sheet_names: workbook.get_sheet_by_name(name).to_python()"
)


def read_workbook(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the rows of the first visible sheet, or of ``options.sheet``.

    Cells are texts, whole numbers and floats; a formula is the value that the program stored.

    Raises:
        UserError: if the workbook is damaged, protected or too large, or lacks the sheet.
    """
    with _open_sheet(path, options.sheet) as sheet:
        rows = sheet.to_python(skip_empty_area=False)
    yield from name_rows(path, _plain_rows(rows), options)


def count_workbook_rows(path: Path, options: TableOptions) -> int:
    """Return an upper bound of the rows of the sheet that would be read: its last row's number."""
    with _open_sheet(path, options.sheet) as sheet:
        # calamine counts rows from 0.
        return sheet.total_height + 1


def _plain_rows(rows: Sequence[Sequence[object]]) -> Iterator[NumberedCells]:
    """Yield the rows up to the last with a value: below it a sheet may have coloured cells."""
    filled = [number for number, cells in enumerate(rows, 1) if any(cell != "" for cell in cells)]
    for number, cells in enumerate(rows[: filled[-1] if filled else 0], 1):
        yield number, list(map(_plain, cells))


def _plain(cell: object) -> object:
    """Return a cell as the sheet shows it: no ``.0`` behind whole numbers, dates as text."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime):
        return str(cell.replace(microsecond=0))
    return str(cell) if isinstance(cell, (date, time, timedelta)) else cell


@contextmanager
def _open_sheet(path: Path, name: str | None) -> Iterator[CalamineSheet]:
    """Open the first visible sheet, or that called ``name``; errors within are the file's."""
    # Only workbooks need it.
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with unpacked_file(path) as unpacked:
            _check_file(path, unpacked)
            workbook = CalamineWorkbook.from_path(unpacked)
            yield workbook.get_sheet_by_name(_sheet_name(path, workbook, name))
    except UserError:
        raise
    except (CalamineError, zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _sheet_name(path: Path, workbook: CalamineWorkbook, name: str | None) -> str:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    names = [sheet.name for sheet in sheets]
    visible = [sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible]
    if not names:
        raise UserError("{path} has no sheet of cells: save the messages as csv or xlsx", path=path)
    if name is not None:
        if name not in names:
            raise UserError(
                "no sheet {name} in {path}: name one with --sheet: {names}",
                name=name,
                path=path,
                names=", ".join(names),
            )
        return name
    chosen = (visible or names)[0]
    if others := [sheet for sheet in visible if sheet != chosen]:
        say_once(
            Message(
                "{path}: reading sheet {chosen}; --sheet reads another ({others})",
                path=path,
                chosen=chosen,
                others=", ".join(others),
            )
        )
    return chosen


def _check_file(path: Path, unpacked: Path) -> None:
    """Check that a workbook, packed or not, is whole and not too large to be read whole.

    Raises:
        UserError: if it is not.
        zipfile.BadZipFile: if it is a damaged zip.
    """
    n_bytes = unpacked.stat().st_size
    if not zipfile.is_zipfile(unpacked):
        _check_size(path, n_bytes)
        _check_in_child(path, unpacked)
        return
    with zipfile.ZipFile(unpacked) as archive:
        _check_size(path, sum(file.file_size for file in archive.infolist()))
        try:
            damaged = archive.testzip()
        except (RuntimeError, NotImplementedError) as error:
            raise _damaged(path, str(error)) from error
    if damaged is not None:
        raise _damaged(path, f"checksum of {damaged}")


def _check_size(path: Path, n_bytes: int) -> None:
    if n_bytes > _MOST_BYTES:
        raise UserError(
            "{path} has {size:,.0f} MB unpacked, more than the {limit} MB of a workbook that is "
            "read whole: save it as csv",
            path=path,
            size=n_bytes / (1 << 20),
            limit=_MOST_BYTES >> 20,
        )


def _check_in_child(path: Path, unpacked: Path) -> None:
    """Check that an xls can be read, in another process: a damaged one can abort its process."""
    command = [sys.executable, "-c", _READ_ALL, str(unpacked.resolve())]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise _damaged(path, "its tables are damaged")


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        "{path} is not a readable workbook ({reason}): it may be damaged, cut short or protected "
        "by a password; save it again as xlsx or csv",
        path=path,
        reason=reason,
    )
