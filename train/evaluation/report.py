"""metrics.json as a person reads it: a table on the terminal, a page with figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from rich.table import Table

from train.evaluation.robustness_page import robustness_section
from train.page import Section, bars, figure, render_page, show, table

#: A confusion matrix of so many labels can be read at a phone's width.
_FEW_LABELS = 6


def headline_table(metrics: Mapping[str, Any]) -> Table:
    """Return the terminal table: model and linear baseline side by side, then each label."""
    grid = Table(title=f"{metrics['split']} ({metrics['n']:,} messages)", title_justify="left")
    grid.add_column("score")
    grid.add_column("model", justify="right")
    grid.add_column("95 %", justify="right")
    grid.add_column("linear baseline", justify="right")
    for row in _headline_rows(metrics):
        grid.add_row(*map(show, row))
    grid.add_section()
    baseline = (metrics["baseline"] or {}).get("per_label", {})
    for label, row in metrics["per_label"].items():
        messages = f"{row['support']:,} messages"
        grid.add_row(f"F1 {label}", show(row["f1"]), messages, show(baseline.get(label)))
    return grid


def render_report(metrics: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Return ``report.html``. ``run`` names the run: ``path``, ``data``, ``base_model``."""
    speed = metrics["throughput"]
    summary = (
        f"{metrics['n']:,} messages of {run['data']}, split {metrics['split']}; base model "
        f"{run['base_model'] or 'built from scratch'}; {speed['messages_per_second']:.0f} "
        f"messages/s on {speed['device']} in {speed['precision']}."
    )
    return render_page(f"Evaluation of {run['path']}", summary, _sections(metrics))


def _sections(metrics: Mapping[str, Any]) -> list[Section]:
    head = ["score", "model", "95 % interval", "linear baseline"]
    sections = [
        Section(
            "Headline",
            "Intervals are by bootstrap over campaigns. The baseline is character TF-IDF with a "
            "linear SVM, trained on the same split. " + _contamination_line(metrics),
            [table(head, _headline_rows(metrics))],
        ),
        Section(
            "Labels",
            "A dash: the score has no value, for want of messages.",
            [_label_bars(metrics), _label_table(metrics["per_label"])],
        ),
        Section(
            "Confusion matrix",
            "Rows are the true label, columns the predicted one; shades are shares of a row.",
            [_matrix_figure(metrics["confusion_matrix"], metrics["labels"])],
        ),
    ]
    if "coarse" in metrics:
        coarse = metrics["coarse"]
        sections.append(
            Section(
                "Parents of the labels",
                "A message is right when the parent of its predicted label is.",
                [
                    _label_table(coarse["per_label"]),
                    _matrix_figure(coarse["confusion_matrix"], coarse["labels"]),
                ],
            )
        )
    if metrics["slices"]:
        head = ["slice", "messages", "accuracy", "macro-F1"]
        rows = [[s["slice"], s["n"], s["accuracy"], s["macro_f1"]] for s in metrics["slices"]]
        sections.append(Section("Slices", "", [table(head, rows)]))
    if "robustness" in metrics:
        sections.append(robustness_section(metrics["robustness"]))
    return sections


def _contamination_line(metrics: Mapping[str, Any]) -> str:
    share = metrics["contamination"]
    if share is None:
        return "Contamination with the training set is unknown: it is not at hand."
    return (
        f"{share['exact']:.1%} of these messages have an exact copy in the training set, "
        f"{share['near']:.1%} a near copy."
    )


def _headline_rows(metrics: Mapping[str, Any]) -> list[list[object]]:
    baseline = metrics["baseline"] or {}
    rows: list[list[object]] = [
        [name, metrics[key], _interval(metrics["ci"].get(key)), baseline.get(key)]
        for name, key in (
            ("macro-F1", "macro_f1"),
            ("accuracy", "accuracy"),
            ("weighted F1", "weighted_f1"),
        )
    ]
    if "coarse" in metrics:
        coarse = metrics["coarse"]
        baseline_coarse = baseline.get("coarse", {})
        rows += [
            [f"{name} of parents", coarse[key], "", baseline_coarse.get(key)]
            for name, key in (("macro-F1", "macro_f1"), ("accuracy", "accuracy"))
        ]
    rows.append(["expected calibration error", metrics["ece"], "", ""])
    rows.append(["log loss (nats)", metrics["nll"], "", ""])
    return rows


def _interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _label_table(rows: Mapping[str, Mapping[str, Any]]) -> Markup:
    names = ["precision", "recall", "f1", "auprc", "support"]
    names = [name for name in names if all(name in row for row in rows.values())]
    body = [[label, *(row[name] for name in names)] for label, row in rows.items()]
    return table(["label", *names], body)


def _label_bars(metrics: Mapping[str, Any]) -> Markup:
    rows = metrics["per_label"]
    series = {"F1": [row["f1"] or 0.0 for row in rows.values()]}
    return bars(list(rows), series, "F1", "F1 of each label; the table below holds the numbers")


def _matrix_figure(counts: list[list[int]], labels: list[str]) -> Markup:
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
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    few = len(labels) <= _FEW_LABELS
    return figure(drawing, "Confusion matrix with a count in each cell", narrow=few)
