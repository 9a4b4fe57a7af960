"""The label in a cell of a user's table: one name, however it was written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from smstune.language import Message
from smstune.tables.row import cell_text, row_problem

#: Characters without width, which ``str.strip`` leaves: spaces, joiners and the byte order mark.
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_EDGE_BLANKS = re.compile(rf"^[\s{_ZERO_WIDTH}]+|[\s{_ZERO_WIDTH}]+$")
#: ``1.0``, as pandas writes whole numbers of a column with an empty cell; not ``01.0``.
_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


def label_name(cell: object) -> str | None:
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


def several_labels(n_labels: int) -> Message:
    """Return the problem of a row with so many labels."""
    return row_problem(
        Message("several labels"), Message("expected one, found {n_labels}", n_labels=n_labels)
    )


def label_in_cell(cell: object) -> str | None:
    """Return the label in a cell, ``None`` if it has none.

    Annotation tools write labels as a list (doccano, Label Studio), as JSON in a cell of a csv
    file (``{"choices": ["a", "b"]}``, Label Studio) or joined by ``#`` (doccano). A list of one
    label, or of one label again and again, is that label.

    Raises:
        ValueError: with the reason, if there are several labels, or labels of parts of a message.
    """
    if isinstance(cell, str) and "#" not in cell and not cell.lstrip().startswith(("[", "{")):
        # Nearly all labels.
        return label_name(cell)
    labels = _label_list(cell)
    if any(isinstance(label, (list, dict)) for label in labels):
        raise ValueError(
            row_problem(
                Message("labels of parts of the message"),
                Message("expected one label for all of it"),
            )
        )
    distinct = list(dict.fromkeys(filter(None, map(label_name, labels))))
    if len(distinct) > 1:
        raise ValueError(several_labels(len(distinct)))
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
