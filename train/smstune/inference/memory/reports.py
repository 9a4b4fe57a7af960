"""Reports and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from smstune.inference.label_names import list_names, shown_cell
from smstune.inference.labels import LabelMap
from smstune.inference.memory.entries import Action, Entry
from smstune.language import Message
from smstune.tables.labels import label_name
from smstune.tables.row import cell_text
from smstune.tables.times import CHINA, read_time

_ACTIONS: Mapping[str, Action | None] = {
    "": None,
    "allow": "allow",
    "放行": "allow",
    "block": "block",
    "拦截": "block",
}


@dataclass(frozen=True)
class Report:
    """A raw message that somebody reports, with its label.

    ``until`` is the moment in ISO 8601 from which the report no longer counts.
    """

    text: str
    label: str
    action: Action | None = None
    reason: str | None = None
    until: str | None = None
    reporter: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a campaign of reports; ``reports`` are their positions.

    ``entry`` is what is remembered of it, or would be without ``refusal``; then a new campaign has
    the id 0.
    """

    entry: Entry
    reports: tuple[int, ...]
    new_messages: int
    refusal: Message | None = None


def build_report(text: str | None, cells: Mapping[str, object], labels: LabelMap) -> Report:
    """Return the report in the cells label, action, reason and until; all but label may be missing.

    A day without a time counts to its end.

    Raises:
        ValueError: with a ``Message`` that says what is wrong.
    """
    if not (text or "").strip():
        raise ValueError(Message("no message"))
    label = label_name(cells.get("label"))
    label_id = labels.ids_of_texts().get(label or "")
    if label_id is None:
        raise ValueError(
            Message(
                "the run has no label {label}; it has {labels}",
                label=shown_cell(label or ""),
                labels=list_names(labels.names),
            )
        )
    action = (cell_text(cells.get("action")) or "").strip().lower()
    if action not in _ACTIONS:
        raise ValueError(
            Message(
                "expected the action allow, block or none, found {action}",
                action=shown_cell(action),
            )
        )
    reason = (cell_text(cells.get("reason")) or "").strip() or None
    name = labels.names[label_id]
    return Report(text or "", name, _ACTIONS[action], reason, _end(cells.get("until")))


def _end(cell: object) -> str | None:
    text = (cell_text(cell) or "").strip()
    if not text:
        return None
    time = read_time(cell)
    if time is None:
        raise ValueError(
            Message(
                "until: expected a time such as 2026-12-31 18:00, found {text}",
                text=shown_cell(text),
            )
        )
    end = time.moment + timedelta(days=1) if time.date_only else time.moment
    if end <= datetime.now(CHINA):
        raise ValueError(Message("until: {text} is over", text=text))
    return end.isoformat()
