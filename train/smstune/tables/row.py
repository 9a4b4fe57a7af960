"""A row of a user's table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

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
    cells as text, ``None`` if missing. ``problem`` says what is wrong with the row, if anything:
    ``prepare`` rejects such a row, ``predict`` answers it and copies the problem to the note.
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
    """Return the label in a cell, ``None`` if it has none.

    Annotation tools write labels as a list (doccano, Label Studio), as JSON in a cell of a csv
    file (``{"choices": ["a", "b"]}``, Label Studio) or joined by ``#`` (doccano). A list of one
    label, or of one label again and again, is that label.

    Raises:
        ValueError: with the reason, if there are several labels, or labels of parts of a message.
    """
    if isinstance(cell, str) and "#" not in cell and not cell.lstrip().startswith(("[", "{")):
        # Nearly all labels: names as they stand.
        return cell
    labels = _label_list(cell)
    if any(isinstance(label, (list, dict)) for label in labels):
        raise ValueError("labels of parts of the message: expected one label for all of it")
    names = map(cell_text, labels)
    distinct = list(dict.fromkeys(name for name in names if name and name.strip()))
    if len(distinct) > 1:
        raise ValueError(f"several labels: expected one, found {len(distinct)}")
    return distinct[0] if distinct else None


def _label_list(cell: object) -> list[object]:
    """Return the labels that a cell lists; a cell that is no list is the only one."""
    if isinstance(cell, str):
        if cell.lstrip().startswith(("[", "{")):
            return _label_list_of_json(cell)
        names = [name.strip() for name in cell.split("#")]
        # "第#1" is a name: only words, or only ids, are joined.
        joined = len(names) > 1 and all(names) and len({name.isdigit() for name in names}) == 1
        return list(names) if joined else [cell]
    if isinstance(cell, Mapping):
        return _label_list(cell["choices"]) if "choices" in cell else [cell]
    return list(cell) if isinstance(cell, (list, tuple)) else [cell]


def _label_list_of_json(cell: str) -> list[object]:
    try:
        labels = json.loads(cell)
    except ValueError:
        return [cell]
    # A JSON object without choices is no list of labels; its text is the name.
    is_list = isinstance(labels, list) or (isinstance(labels, dict) and "choices" in labels)
    return _label_list(labels) if is_list else [cell]
