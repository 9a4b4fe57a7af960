"""The names of a table's columns, and rows made of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smstune.errors import UserError
from smstune.tables.encodings import (
    has_bad_bytes,
    is_printable,
    printable,
    printable_text,
)
from smstune.tables.row import Cells, TableRow, cell_text, label_text

UNDECODABLE = "undecodable bytes"
#: A lone surrogate, which JSON can contain where an emoji was cut in half.
HALF_CHARACTER = "half a character"


@dataclass(frozen=True)
class Columns:
    """Column names; ``label``, ``group`` and ``time`` are optional.

    With ``labelled`` the label's column is required.
    """

    text: str = "text"
    label: str = "label"
    group: str = "group"
    time: str = "time"
    labelled: bool = True


def require_columns(path: Path | str, columns: Columns, names: Sequence[str]) -> None:
    """Check that a table with columns ``names`` has the required ones.

    Raises:
        UserError: naming the missing columns and the existing ones.
    """
    required = [columns.text, columns.label] if columns.labelled else [columns.text]
    missing = [name for name in required if name not in names]
    if missing:
        flags = "--text-column and --label-column" if columns.labelled else "--text-column"
        raise UserError(
            f"expected column {' and '.join(missing)} in {path}, found {', '.join(names)}: "
            f"name yours with {flags}"
        )


def make_row(
    path: Path | str,
    line: int,
    fields: Cells,
    columns: Columns,
    problem: str | None = None,
) -> TableRow:
    """Return the row of a table whose cells are ``fields``.

    A cell with undecodable bytes or a lone surrogate, which no file can store, is the row's
    problem. In the message itself a lone surrogate is not, because the normaliser drops it. The
    row's own ``fields`` can always be written.
    """
    writable = is_printable(fields)
    if not writable:
        without_message = {
            name: cell
            for name, cell in fields.items()
            if name != columns.text or not isinstance(cell, str)
        }
        if any(has_bad_bytes(str(cell)) for cell in fields.values()):
            problem = problem or UNDECODABLE
        elif not is_printable(without_message):
            problem = problem or HALF_CHARACTER
    return TableRow(
        str(path),
        line,
        text=cell_text(fields.get(columns.text)),
        label=label_text(fields.get(columns.label)),
        group=cell_text(fields.get(columns.group)),
        time=cell_text(fields.get(columns.time)),
        problem=problem,
        fields=fields if writable else _printable_row(fields),
    )


def _printable_row(fields: Cells) -> Cells:
    return {printable_text(name): printable(cell) for name, cell in fields.items()}
