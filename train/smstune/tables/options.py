"""What the user says about a table: the names of its columns, its sheet, its header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smstune.config.choices import Layout

#: What a column holds; ``given`` to ``reply`` are those of a consent ledger and an opt-out
#: list, the last two those of reports.
Role = Literal[
    "text", "label", "group", "time", "split", "sender", "recipient", "consent", "consent_id",
    "content_type", "given", "channel", "frequency", "until", "withdrawn", "evidence", "reply",
    "action", "reason",
]  # fmt: skip


@dataclass(frozen=True)
class TableOptions:
    """How to read a table, as the user asked for it; ``None`` where nothing was said.

    ``text``, ``label``, ``group`` and ``time`` are column names; one that is ``None`` may be
    guessed. ``split`` is the column that holds the split of each row; it is not read if ``None``.
    With ``labelled`` the label's column is required. ``sheet`` is the sheet of a workbook.
    ``header`` is ``False`` if the table has none (``--no-header``); otherwise a missing header is
    recognised. ``layout`` says how a folder of files holds messages. ``header_roles`` are the roles
    of which a header names at least one.
    """

    text: str | None = None
    label: str | None = None
    group: str | None = None
    time: str | None = None
    split: str | None = None
    labelled: bool = True
    sheet: str | None = None
    header: bool | None = None
    layout: Layout | None = None
    header_roles: tuple[Role, ...] = ("text", "label")
