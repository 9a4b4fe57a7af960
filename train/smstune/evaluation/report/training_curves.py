"""How a run was trained: loss, learning rate and validation scores, from trainer_state.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smstune.errors import UserError
from smstune.language import Message
from smstune.reporting.charts import SERIES_COLOURS, Line, LineChart
from smstune.reporting.document import Figure, Section, Table

#: Rows of transformers' ``log_history``, which has other keys for each kind of row.
Rows = Sequence[Mapping[str, Any]]

_HEAD = (
    Message("step"),
    Message("epoch"),
    Message("macro-F1"),
    Message("accuracy"),
    Message("validation loss"),
    Message("training loss"),
    Message("learning rate"),
)


def training_section(run: Path) -> Section | None:
    """Return the curves of a run's training, with a table of a row for each validation.

    ``None`` where the folder has no ``trainer_state.json``: a published one may come without.

    Raises:
        UserError: if that file is damaged.
    """
    history = _load_history(run)
    if history is None:
        return None
    logged, validated, best = history.logged, history.validated, history.best_step
    return Section(
        Message("Training"),
        Message(
            "The run has the weights of step {step}, the best by macro-F1 on validation (the "
            "vertical line). Training loss is the mean since the row above, with dropout; "
            "trainer_state.json holds every logged step.",
            step=best,
        ),
        [_curves(logged, validated, best), Table(_HEAD, _rows(logged, validated))],
    )


def overlaid_curves(folders_by_series: Mapping[str, Sequence[Path]]) -> Figure:
    """Return training loss and macro-F1 on validation of several runs, a colour for each series.

    From the seventh series on colours repeat, dashed. Runs without ``trainer_state.json`` are left
    out.

    Raises:
        UserError: if that file of a run is damaged.
    """
    losses, scores = [], []
    for number, (name, folders) in enumerate(folders_by_series.items()):
        dashed = number >= SERIES_COLOURS
        for history in filter(None, map(_load_history, folders)):
            loss_points = [(row["epoch"], row["loss"]) for row in history.logged]
            points = [(row["epoch"], row["eval_macro_f1"]) for row in history.validated]
            losses.append(Line(name, loss_points, number, dashed=dashed))
            scores.append(Line(name, points, number, dashed=dashed))
    return Figure(
        [
            LineChart(losses, Message("epoch"), Message("loss"), title=Message("training loss")),
            LineChart(
                scores, Message("epoch"), Message("macro-F1"), title=Message("on validation")
            ),
        ],
        Message(
            "Training loss and macro-F1 of the encoder on validation over the epochs, of every run"
        ),
    )


@dataclass(frozen=True)
class _History:
    """Rows of a training's log with a loss, rows with validation scores, and the best step."""

    logged: Rows
    validated: Rows
    best_step: int | None


def _load_history(run: Path) -> _History | None:
    file = run / "trainer_state.json"
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text("utf-8"))
        logged = [row for row in state["log_history"] if "loss" in row]
        validated = [row for row in state["log_history"] if "eval_macro_f1" in row]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "{file}: expected the state that `smstune finetune` left, found {error!r}: "
            "restore it, or remove it to go without the curves",
            file=file,
            error=error,
        ) from error
    return _History(logged, validated, state.get("best_global_step"))


def _rows(logged: Rows, validated: Rows) -> list[list[object]]:
    """Return a row for each validation, of what the columns in ``_HEAD`` name."""
    steps = np.array([row["step"] for row in logged])
    losses = np.array([row["loss"] for row in logged])
    # A logged loss is the mean of the steps since the one before.
    spans = np.diff(steps, prepend=0)
    rows: list[list[object]] = []
    start = 0
    for row in validated:
        since = (steps > start) & (steps <= row["step"])
        rates = [
            logged_row["learning_rate"]
            for logged_row in logged
            if logged_row["step"] <= row["step"]
        ]
        rows.append(
            [
                row["step"],
                f"{row['epoch']:g}",
                row["eval_macro_f1"],
                row["eval_accuracy"],
                row["eval_loss"],
                float(np.average(losses[since], weights=spans[since])) if since.any() else None,
                f"{rates[-1]:.2g}" if rates else None,
            ]
        )
        start = row["step"]
    return rows


def _curves(logged: Rows, validated: Rows, best: int | None) -> Figure:
    loss = LineChart(
        [
            Line(Message("training"), _points(logged, "loss"), 0),
            Line(Message("validation"), _points(validated, "eval_loss"), 1, markers=True),
        ],
        Message("step"),
        Message("loss"),
        title=Message("loss"),
    )
    scores = LineChart(
        [
            Line(Message("macro-F1"), _points(validated, "eval_macro_f1"), 2, markers=True),
            Line(Message("accuracy"), _points(validated, "eval_accuracy"), 3, markers=True),
        ],
        Message("step"),
        Message("score"),
        title=Message("on validation"),
        marked_x=best,
    )
    rate = LineChart(
        [Line(Message("learning rate"), _points(logged, "learning_rate"), 0)],
        Message("step"),
        Message("learning rate"),
        title=Message("learning rate"),
    )
    return Figure(
        [loss, scores, rate],
        Message("Loss, scores on validation and learning rate over the steps of the training"),
    )


def _points(rows: Rows, key: str) -> list[tuple[float, float | None]]:
    return [(row["step"], row[key]) for row in rows]
