"""A row of a user's table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: The cells of a row by their columns.
Cells = Mapping[str, object]
#: Characters without width, which ``str.strip`` leaves: spaces, joiners and the byte order mark.
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_EDGE_BLANKS = re.compile(rf"^[\s{_ZERO_WIDTH}]+|[\s{_ZERO_WIDTH}]+$")
#: ``1.0``, as pandas writes whole numbers of a column with an empty cell; not ``01.0``.
_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


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
    cells as text, ``None`` if missing; the label is written as ``label_text`` writes it.
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
    problem: str | None = None
    odd_text: str | None = None
    fields: Cells = field(default_factory=dict)


def cell_text(cell: object) -> str | None:
    """Return a cell as text: ``None`` for null and NaN, ``1`` for the number 1.0."""
    if cell is None or cell != cell:
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def label_text(cell: object) -> str | None:
    """Return a label as text, ``None`` for an empty one: written differently, it stays one label.

    Blanks around it are removed, full-width, non-breaking and zero-width ones too. ``1``, ``1.0``
    and the number 1 become ``1``; ``TRUE`` and the boolean become ``true``. ``01`` stays ``01``.
    """
    text = _EDGE_BLANKS.sub("", cell_text(cell) or "")
    if whole_number := _WHOLE_NUMBER.fullmatch(text):
        return whole_number[1]
    if text.lower() in ("true", "false"):
        return text.lower()
    return text or None


def without_apostrophe(text: str) -> str:
    """Return a text without the apostrophe that keeps spreadsheets from reading it as a formula.

    ``--excel`` writes it before a text that begins with = + - @ tab or carriage return.
    """
    is_escaped = text[:1] == "'" and text[1:2] in FORMULA_STARTS and len(text) > 1
    return text[1:] if is_escaped else text


#: What a cell begins with if a spreadsheet may take it for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
