"""How labels of a file are named on the terminal: never where they may be messages."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from smstune.language import Message, joined

Unit = Literal["row", "message", "campaign", "label"]

#: More labels than this, or longer ones, may be a column of messages: they are only counted.
MAX_LABELS = 200
MAX_CHARACTERS = 40
_ONE: dict[Unit, Message] = {
    "row": Message("{count:,} row"),
    "message": Message("{count:,} message"),
    "campaign": Message("{count:,} campaign"),
    "label": Message("{count:,} label"),
}
_SEVERAL: dict[Unit, Message] = {
    "row": Message("{count:,} rows"),
    "message": Message("{count:,} messages"),
    "campaign": Message("{count:,} campaigns"),
    "label": Message("{count:,} labels"),
}


@dataclass
class LabelCounts:
    """The number of rows of each label; beyond ``MAX_LABELS`` labels further ones are not kept."""

    rows: Counter[str] = field(default_factory=Counter)
    #: Rows whose label is not in ``rows``.
    unnamed_rows: int = 0

    def add(self, label: str) -> None:
        """Count a row of this label."""
        if label in self.rows or len(self.rows) < MAX_LABELS:
            self.rows[label] += 1
        else:
            self.unnamed_rows += 1

    def may_be_named(self) -> bool:
        """Return whether the labels are few and short enough to be no messages."""
        return not self.unnamed_rows and may_be_named(self.rows)

    def listed(self) -> Message:
        """Return the labels with their rows, or only how many they are."""
        if not self.unnamed_rows:
            return list_counts(self.rows)
        rows = self.rows.total() + self.unnamed_rows
        return Message(
            "more than {max_labels} labels ({n_rows:,} rows)", max_labels=MAX_LABELS, n_rows=rows
        )


def shown_cell(cell: str) -> str:
    """Return a cell as an error may show it: a message in the wrong column is not printed."""
    if may_be_named([cell]):
        return repr(cell)
    return Message("{n_characters} characters", n_characters=len(cell))


def may_be_named(labels: Iterable[str]) -> bool:
    """Return whether the labels are few and short enough to be no messages."""
    names = list(labels)
    return len(names) <= MAX_LABELS and all(
        len(name) <= MAX_CHARACTERS and name.isprintable() for name in names
    )


def list_counts(rows_by_label: Mapping[str, int], unit: Unit = "row") -> Message:
    """Return ``fraud (3 rows), retail (1 row)``, or only how many labels and rows there are."""
    if may_be_named(rows_by_label):
        counts = [
            Message("{name} ({count})", name=name, count=_number(rows, unit))
            for name, rows in rows_by_label.items()
        ]
        return joined(counts, ", ")
    return Message(
        "{name} ({count})",
        name=_number(len(rows_by_label), "label"),
        count=_number(sum(rows_by_label.values()), unit),
    )


def list_names(labels: Iterable[str]) -> Message:
    """Return the names with commas between them, or only how many they are."""
    names = list(labels)
    return joined(names, ", ") if may_be_named(names) else _number(len(names), "label")


def similar_names(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that differ only in case or width (``ＡＢ`` and ``ab``)."""
    by_plain_name: dict[str, list[str]] = {}
    for name in labels:
        plain_name = unicodedata.normalize("NFKC", name).casefold()
        by_plain_name.setdefault(plain_name, []).append(name)
    return [tuple(names) for names in by_plain_name.values() if len(names) > 1]


def _number(count: int, unit: Unit) -> Message:
    return Message(_ONE[unit] if count == 1 else _SEVERAL[unit], count=count)
