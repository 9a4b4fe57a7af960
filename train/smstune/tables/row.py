"""One row of a table, and the columns that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smstune.errors import UserError


class Columns(NamedTuple):
    """Column names of a table; ``group`` and ``time`` are read where they exist.

    So is ``label``, unless a table without it is refused: ``labelled``.
    """

    text: str = "text"
    label: str = "label"
    group: str = "group"
    time: str = "time"
    labelled: bool = True

    def with_labels(self, *, required: bool) -> Columns:
        """Return these columns, and whether a table without labels is refused."""
        return self._replace(labelled=required)

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The names, in the order of a row's values."""
        return self[:4]


DEFAULT_COLUMNS = Columns()


class Row(NamedTuple):
    """One raw row. ``problem`` says why it cannot be used, if so; ``line`` counts from 1."""

    file: str
    line: int
    text: str | None = None
    label: str | None = None
    group: str | None = None
    time: str | None = None
    problem: str | None = None


Reader = Callable[[Path, Columns], Iterator[Row]]


def require_columns(path: Path, columns: Columns, found: list[str]) -> None:
    """Check that a table has the columns to be read.

    Raises:
        UserError: naming those that are missing and those there are.
    """
    wanted = columns.names[: 1 + columns.labelled]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(
            f"expected column {' and '.join(missing)} in {path}, found {', '.join(found)}: "
            "name yours with --text-column and --label-column"
        )


def make_row(path: Path, number: int, fields: Mapping[str, Any], columns: Columns) -> Row:
    """Return the row of a table whose cells are ``fields``."""
    text, label, group, time = (_as_text(fields.get(name)) for name in columns.names)
    return Row(str(path), number, text, label, group, time)


def _as_text(value: Any) -> str | None:  # noqa: ANN401
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
