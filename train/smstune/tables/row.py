"""One row of a user's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TableRow:
    """A row as it was read, whole, whatever is wrong with it.

    ``line`` counts from 1: the line where the row ends, or the row of a table without lines.
    ``fields`` holds every cell by its column. ``text``, ``label``, ``group`` and ``time`` are cells
    as text, ``None`` where there is none. ``problem`` says what is wrong with the row, if anything:
    ``prepare`` rejects it then, ``predict`` answers it and passes the problem on.
    """

    file: str
    line: int
    text: str | None = None
    label: str | None = None
    group: str | None = None
    time: str | None = None
    problem: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def cell_text(value: Any) -> str | None:  # noqa: ANN401
    """Return a cell as text: nothing for null and NaN, ``1`` for the number 1.0."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
