"""Figures of the evaluation report; the numbers stand in a table beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smstune.evaluation.scores.ranking import RECALLS
from smstune.reporting.charts import figure
from smstune.reporting.format import percent
from smstune.reporting.html import table

#: A confusion matrix of so many labels can be read at a phone's width.
_FEW_LABELS = 6
_STYLES = tuple(
    (colour, dash)
    for dash in ("-", "--", ":")
    for colour in ("#2f6fb3", "#e0a030", "#5a9e6f", "#b5509c", "#6b6b6b", "#c25b3f")
)
_SHOWN_RECALLS = (0.5, 0.8, 0.9, 0.95, 1.0)


def matrix_figure(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """Return a confusion matrix with a count in each cell, shaded by its share of the row."""
    matrix = np.array(counts)
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)
    side = 2.2 + 0.42 * len(labels)
    drawing = Figure(figsize=(side + 1, side))
    axes = drawing.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        shade = "white" if shares[row, column] > 0.5 else "#1f2328"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=shade,
                  fontsize=8)  # fmt: skip
    names = [_plain(label) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    few = len(labels) <= _FEW_LABELS
    return figure(drawing, "Confusion matrix with a count in each cell", narrow=few)


def precision_recall_figure(curves: Mapping[str, Sequence[float]]) -> Markup:
    """Return precision over recall of each group of labels, and a table of a few recalls."""
    drawing, axes = _square("recall", "precision")
    for (name, precision), (colour, dash) in zip(curves.items(), cycle(_STYLES), strict=False):
        axes.plot(RECALLS, precision, dash, color=colour, label=_plain(name))
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    head = ["precision at recall", *(percent(recall) for recall in _SHOWN_RECALLS)]
    rows = [
        [name, *(curve[RECALLS.index(recall)] for recall in _SHOWN_RECALLS)]
        for name, curve in curves.items()
    ]
    description = "Precision over recall; the table below holds some points"
    return figure(drawing, description, narrow=True) + table(head, rows)


def reliability_figure(calibration: Mapping[str, Any]) -> Markup:
    """Return accuracy over confidence before and after calibration, and a table of the bins."""
    drawing, axes = _square("confidence", "accuracy")
    axes.plot([0, 1], [0, 1], color="#9198a1", linewidth=1)
    for (name, marker), (colour, _) in zip(
        (("before", "o"), ("after", "s")), _STYLES, strict=False
    ):
        bins = calibration[name]["reliability"]
        axes.plot(
            [row["confidence"] for row in bins],
            [row["accuracy"] for row in bins],
            marker=marker,
            markersize=4,
            color=colour,
            label=f"{name} calibration",
        )
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    head = ["messages", "confidence before", "accuracy", "confidence after", "accuracy after"]
    pairs = zip(*(calibration[name]["reliability"] for name in ("before", "after")), strict=True)
    rows = [
        [old["n"], old["confidence"], old["accuracy"], new["confidence"], new["accuracy"]]
        for old, new in pairs
    ]
    description = "Accuracy over confidence; the table below holds the numbers"
    return figure(drawing, description, narrow=True) + table(head, rows)


def _square(across: str, up: str) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=(4.6, 4))
    axes = drawing.subplots()
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(True, color="#d1d9e0")
    axes.spines[["top", "right"]].set_visible(False)
    return drawing, axes


def _plain(text: str) -> str:
    # A dollar sign would open a formula.
    return text.replace("$", r"\$")
