"""A table of an audit, written row by row: a csv for spreadsheets, or a workbook."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smstune.tables.formulas import with_apostrophe

#: Appends rows of cells below the header.
WriteRows = Callable[[Iterable[Sequence[object]]], None]


@contextmanager
def open_sheet(path: Path, header: Sequence[str]) -> Iterator[WriteRows]:
    """Give a function that appends rows to a new table, whose suffix is .csv or .xlsx.

    In both no text is a formula.
    """
    if path.suffix == ".xlsx":
        from smstune.tables.formats.workbook_writer import workbook_writer

        with workbook_writer(path, header) as write:
            # The header, even if no row follows.
            write([])
            yield lambda rows: write([dict(zip(header, cells, strict=True)) for cells in rows])
        return
    # With its byte order mark, spreadsheets read the file as UTF-8.
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(with_apostrophe, header))
        yield lambda rows: writer.writerows(map(_as_text, rows))


def _as_text(cells: Sequence[object]) -> list[object]:
    return [with_apostrophe(cell) if isinstance(cell, str) else cell for cell in cells]
