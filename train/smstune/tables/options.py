"""What a user said of a table: the names of its columns, its sheet, its header, its layout."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableOptions:
    """How to read a table; ``None`` where the user said nothing, so that it is recognised.

    ``text``, ``label``, ``group`` and ``time`` are names of columns. With ``labelled`` the label's
    column is required. ``header=False``: the first row is a message. ``layout`` is that of a
    folder: ``files``, ``folder-per-label`` or ``file-per-label``.
    """

    text: str | None = None
    label: str | None = None
    group: str | None = None
    time: str | None = None
    labelled: bool = True
    sheet: str | None = None
    header: bool | None = None
    layout: str | None = None
