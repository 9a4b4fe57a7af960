"""Which columns of a table hold what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smstune.errors import UserError
from smstune.tables.encodings import has_bad_bytes, is_printable, printable
from smstune.tables.row import TableRow, cell_text

UNDECODABLE = "undecodable bytes"
#: JSON can name half of a pair, a lone ``d83d``, where an emoji was cut.
HALF_CHARACTER = "half a character"


@dataclass(frozen=True)
class Columns:
    """Column names; ``label``, ``group`` and ``time`` are read where they exist.

    With ``labelled`` a table without the label's column is refused.
    """

    text: str = "text"
    label: str = "label"
    group: str = "group"
    time: str = "time"
    labelled: bool = True


def require_columns(path: Path | str, columns: Columns, found: Sequence[str]) -> None:
    """Check that a table has the columns to be read.

    Raises:
        UserError: naming those that are missing and those there are.
    """
    required = [columns.text, columns.label] if columns.labelled else [columns.text]
    missing = [name for name in required if name not in found]
    if missing:
        flags = "--text-column and --label-column" if columns.labelled else "--text-column"
        raise UserError(
            f"expected column {' and '.join(missing)} in {path}, found {', '.join(found)}: "
            f"name yours with {flags}"
        )


def make_row(
    path: Path | str,
    line: int,
    fields: Mapping[str, Any],
    columns: Columns,
    problem: str | None = None,
) -> TableRow:
    """Return the row of a table whose cells are ``fields``.

    A text that no file can hold, with an undecodable byte or half a surrogate pair in whatever
    column, is the row's problem; but half a pair in the message itself is not: the normaliser drops
    it. ``fields`` can be written all the same.
    """
    writable = is_printable(fields)
    if not writable:
        others = {
            name: cell
            for name, cell in fields.items()
            if name != columns.text or not isinstance(cell, str)
        }
        if any(has_bad_bytes(str(cell)) for cell in fields.values()):
            problem = problem or UNDECODABLE
        elif not is_printable(others):
            problem = problem or HALF_CHARACTER
    return TableRow(
        str(path),
        line,
        text=cell_text(fields.get(columns.text)),
        label=cell_text(fields.get(columns.label)),
        group=cell_text(fields.get(columns.group)),
        time=cell_text(fields.get(columns.time)),
        problem=problem,
        fields=fields if writable else printable(fields),
    )
