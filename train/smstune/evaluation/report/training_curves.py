"""How a run was trained: loss, learning rate and validation scores, from trainer_state.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smstune.errors import UserError
from smstune.reporting.charts import figure
from smstune.reporting.html import Section, table

Rows = Sequence[Mapping[str, Any]]

_HEAD = (
    "step", "epoch", "macro-F1", "accuracy", "validation loss", "training loss", "learning rate",
)  # fmt: skip


def training_section(run: Path) -> Section | None:
    """Return the curves of a run's training, with a table of a row for each validation.

    ``None`` where the folder has no ``trainer_state.json``: a published one may come without.

    Raises:
        UserError: if that file is damaged.
    """
    file = run / "trainer_state.json"
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text("utf-8"))
        logged = [row for row in state["log_history"] if "loss" in row]
        validated = [row for row in state["log_history"] if "eval_macro_f1" in row]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: expected the state that `smstune finetune` left, found {error!r}: "
            "restore it, or remove it to do without the curves"
        ) from error
    best = state.get("best_global_step")
    return Section(
        "Training",
        f"The run has the weights of step {best}, the best by macro-F1 on validation. Training "
        "loss is the mean since the row above, with dropout; trainer_state.json holds every logged "
        "step.",
        [_curves(logged, validated, best), table(_HEAD, _rows(logged, validated))],
    )


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
        rates = [one["learning_rate"] for one in logged if one["step"] <= row["step"]]
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


def _curves(logged: Rows, validated: Rows, best: int | None) -> Markup:
    drawing = Figure(figsize=(5, 6.5), layout="constrained")
    loss, scores, rate = drawing.subplots(3, sharex=True)
    _line(loss, logged, "loss", "training")
    _line(loss, validated, "eval_loss", "validation", "o-")
    _line(scores, validated, "eval_macro_f1", "macro-F1", "o-")
    _line(scores, validated, "eval_accuracy", "accuracy", "o-")
    _line(rate, logged, "learning_rate", "learning rate")
    if best is not None:
        scores.axvline(best, color="#59636e", linestyle=":", label="kept")
    for axes, name in ((loss, "loss"), (scores, "on validation"), (rate, "learning rate")):
        axes.set_ylabel(name)
        axes.grid(True, color="#d1d9e0")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (loss, scores):
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.set_xlabel("step")
    return figure(
        drawing,
        "Loss, scores on validation and learning rate over the steps of the training; the table "
        "below holds the numbers",
        narrow=True,
    )


def _line(axes: Axes, rows: Rows, key: str, label: str, style: str = "-") -> None:
    axes.plot([row["step"] for row in rows], [row[key] for row in rows], style, label=label)
