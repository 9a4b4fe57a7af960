"""Exports of annotation tools: a task and its annotators' answers become a message and a label.

doccano writes ``{"text": ..., "label": [...]}``; earlier versions ``data`` and ``labels``, or
``annotations`` with ids of labels (doccano.github.io/doccano). Label Studio's JSON has the message
in ``data`` and the choices in ``annotations``, earlier ``completions``
(labelstud.io/guide/export).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.options import TableOptions
from smstune.tables.row import Cells, RawRow

DISAGREEMENT = Message("the annotators disagree")
#: Objects without any of these are as they should be.
_KEYS = {"data", "labels", "annotations"}
#: What the annotators chose at each control of a task: their distinct answers, each a list.
_Answers = dict[str, list[list[object]]]


def read_annotations(rows: Iterable[RawRow], path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield annotated tasks as messages with a label; other rows are unchanged.

    A Label Studio task has its choices in a column with the name of their control, and in ``label``
    unless the user names another column. Skipped tasks and a model's predictions give no label. If
    the annotators disagree, that is the row's problem.

    Raises:
        UserError: if a label is needed, no column is named, and there are choices of several
            controls.
    """
    controls: dict[str, None] = {}
    for row in rows:
        if _KEYS.isdisjoint(row.cells):
            yield row
            continue
        message = row.cells.get("data")
        annotations = row.cells.get("annotations", row.cells.get("completions"))
        if not isinstance(message, Mapping) or not isinstance(annotations, list):
            yield RawRow(row.number, _doccano_cells(row.cells, options), row.problem)
            continue
        answers = _label_studio_answers(annotations)
        controls.update(dict.fromkeys(answers))
        if len(controls) > 1 and options.labelled and options.label is None:
            raise UserError(
                "{path} has choices of {controls}: name the one that is the label with "
                "--label-column",
                path=path,
                controls=", ".join(controls),
            )
        # With several controls and no need of a label, each has its own column only.
        if len(controls) < 2 and options.label in (None, "label"):
            answers = {**answers, "label": next(iter(answers.values()), [])}
        disagree = options.labelled and len(answers.get(options.label or "label", [])) > 1
        yield RawRow(
            row.number,
            {**message, **{name: _cell(lists) for name, lists in answers.items()}},
            row.problem or (DISAGREEMENT if disagree else None),
        )


def _label_studio_answers(annotations: list[object]) -> _Answers:
    """Return the distinct answers of those who did not skip the task, by control."""
    answers: _Answers = {}
    for annotation in annotations:
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        for answer in annotation.get("result") or ():
            if not isinstance(answer, Mapping) or not isinstance(answer.get("value"), Mapping):
                continue
            choices = answer["value"].get("choices")
            if choices:
                distinct = answers.setdefault(str(answer.get("from_name", "label")), [])
                if (in_order := sorted(choices, key=str)) not in distinct:
                    distinct.append(in_order)
    return answers


def _cell(answers: list[list[object]]) -> object:
    """Return an answer that all gave, otherwise the list of all."""
    choices = answers[0] if len(answers) == 1 else answers
    return choices[0] if len(choices) == 1 else choices or None


def _doccano_cells(cells: Cells, options: TableOptions) -> Cells:
    """Return the cells with doccano's message as ``text`` and its labels as ``label``."""
    renamed = dict(cells)
    other_texts = [
        name
        for name, cell in cells.items()
        if isinstance(cell, str) and name not in ("data", "label", "labels")
    ]
    if "label" not in cells and options.label is None:
        if isinstance(cells.get("labels"), list):
            renamed["label"] = renamed.pop("labels")
        elif ids := _label_ids(cells.get("annotations")):
            renamed["label"] = ids
    is_message = isinstance(cells.get("data"), str) and not other_texts
    if is_message and "label" in renamed and options.text is None:
        renamed["text"] = renamed.pop("data")
    return renamed


def _label_ids(annotations: object) -> list[object]:
    """Return the ids in ``[{"label": 2, "user": 1}, ...]``."""
    if not isinstance(annotations, list):
        return []
    return [task["label"] for task in annotations if isinstance(task, Mapping) and "label" in task]
