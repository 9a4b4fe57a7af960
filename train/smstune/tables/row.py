"""A row of a user's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from smstune.language import Message

#: The cells of a row by their columns.
Cells = Mapping[str, object]


@dataclass(frozen=True)
class RawRow:
    """A row before the roles of its columns are known.

    ``number`` counts from 1: the row that a spreadsheet shows, or the line that an editor shows if
    the format has lines. ``problem`` says what is wrong with the row, if anything.
    """

    number: int
    cells: Cells
    problem: str | None = None


@dataclass(frozen=True)
class TableRow:
    """A row as it was read, even if something is wrong with it.

    ``line`` is the number of the row (``RawRow``). ``text``, ``label``, ``group`` and ``time`` are
    cells as text, ``None`` if missing; the label is written as ``label_name`` writes it.
    ``split`` is the cell of the column that ``TableOptions.split`` names.
    ``problem`` says what is wrong with the row, if anything: ``prepare`` rejects such a row,
    ``predict`` answers it and copies the problem to the note.
    ``odd_text`` says why ``text`` is not the message cell itself, although the row can be used.
    """

    file: str
    line: int
    text: str | None = None
    label: str | None = None
    group: str | None = None
    time: str | None = None
    split: str | None = None
    problem: str | None = None
    odd_text: str | None = None
    fields: Cells = field(default_factory=dict)


def row_problem(kind: Message, detail: Message) -> Message:
    """Return the problem of a row: its kind, and what is special about this row."""
    return Message("{kind}: {detail}", kind=kind, detail=detail)


def problem_kind(problem: str) -> str:
    """Return what rows with the same kind of problem share."""
    kind = problem.values.get("kind") if isinstance(problem, Message) else None
    return kind if isinstance(kind, str) else problem


def with_message(row: TableRow, problem: Message) -> TableRow:
    """Return the row; one without a message and without another problem gets ``problem``."""
    if row.problem is not None or (row.text or "").strip():
        return row
    return replace(row, problem=problem)


def cell_text(cell: object) -> str | None:
    """Return a cell as text: ``None`` for null and NaN, ``1`` for the number 1.0."""
    if cell is None or cell != cell:
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
