"""metrics.json as a person reads it: a table on the terminal, a page with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich.table import Table

from smstune.evaluation.report.figures import matrix_figure
from smstune.evaluation.report.sections import (
    calibration_section,
    error_section,
    explanation_section,
    gate_section,
    limit_section,
    operating_section,
    ranking_section,
    slice_section,
)
from smstune.evaluation.robustness.report import robustness_section
from smstune.reporting.charts import bars
from smstune.reporting.format import interval_text, show
from smstune.reporting.html import Section, render_page, table
from smstune.reporting.markdown import render_markdown

_MOST_CONFUSED = 20


def headline_table(metrics: Mapping[str, Any]) -> Table:
    """Return the terminal table: model and linear baseline side by side, then each label."""
    grid = Table(title=f"{metrics['split']} ({metrics['n']:,} messages)", title_justify="left")
    grid.add_column("score")
    grid.add_column("model", justify="right")
    grid.add_column("95 %", justify="right")
    grid.add_column("linear baseline", justify="right")
    for row in headline_rows(metrics):
        grid.add_row(*map(show, row))
    grid.add_section()
    baseline = (metrics["baseline"] or {}).get("per_label", {})
    for label, row in metrics["per_label"].items():
        messages = f"{row['support']:,} messages"
        grid.add_row(f"F1 {label}", show(row["f1"]), messages, show(baseline.get(label)))
    return grid


def render_report(
    metrics: Mapping[str, Any],
    run: Mapping[str, Any],
    errors: Mapping[str, Sequence[Mapping[str, Any]]],
    training: Section | None = None,
) -> tuple[str, str]:
    """Return ``report.html``, and the same without figures as ``report.md``.

    ``run`` names the run: ``path``, ``data``, ``data_hash``, ``base_model``; ``errors`` come from
    ``telling_errors``; ``training`` is the section that tells how it was trained, if known.
    """
    speed = metrics["throughput"]
    summary = (
        f"{metrics['n']:,} messages of {run['data']}, split {metrics['split']}"
        f"{f' (SHA-256 {digest[:12]})' if (digest := run['data_hash']) else ''}; base model "
        f"{run['base_model'] or 'built from scratch'}; {speed['messages_per_second']:.0f} "
        f"messages/s on {speed['device']} in {speed['precision']}."
    )
    last = [training, limit_section(metrics)] if training else [limit_section(metrics)]
    explained = metrics.get("explanations")
    last = [explanation_section(explained), *last] if explained else last
    sections = [*_sections(metrics), *error_section(errors), *last]
    title = f"Evaluation of {run['path']}"
    return render_page(title, summary, sections), render_markdown(title, summary, sections)


def _sections(metrics: Mapping[str, Any]) -> list[Section]:
    head = ["score", "model", "95 % interval", "linear baseline"]
    sections = [
        Section(
            "Headline",
            "Intervals are by bootstrap over campaigns. The baseline is character TF-IDF with a "
            "linear SVM, trained on the same split. " + _contamination_line(metrics),
            [table(head, headline_rows(metrics))],
        ),
        *gate_section(metrics),
        operating_section(metrics),
        Section(
            "Labels",
            "A dash: the score has no value, for want of messages or answers.",
            [_label_bars(metrics), _label_table(metrics["per_label"], metrics["ci"])],
        ),
        Section(
            "Confusion matrix",
            "Rows are the true label, columns the predicted one; shades are shares of a row.",
            _matrix(metrics),
        ),
    ]
    if "coarse" in metrics:
        coarse = metrics["coarse"]
        sections.append(
            Section(
                "Parents of the labels",
                "A message is right when the parent of its predicted label is.",
                [_label_table(coarse["per_label"], {}), *_matrix(coarse)],
            )
        )
    return [
        *sections,
        ranking_section(metrics),
        calibration_section(metrics),
        *slice_section(metrics),
        *([robustness_section(metrics["robustness"])] if "robustness" in metrics else []),
    ]


def _matrix(scores: Mapping[str, Any]) -> list[Markup]:
    """Return the figure, and as a table what is confused most."""
    labels, counts = scores["labels"], scores["confusion_matrix"]
    confused = sorted(
        (
            (-count, labels[row], labels[column])
            for row, line in enumerate(counts)
            for column, count in enumerate(line)
            if row != column and count
        ),
    )
    rows = [[truth, answer, -count] for count, truth, answer in confused[:_MOST_CONFUSED]]
    return [matrix_figure(counts, labels), table(["label", "taken for", "messages"], rows)]


def _contamination_line(metrics: Mapping[str, Any]) -> str:
    share = metrics["contamination"]
    if share is None:
        return "Contamination with the training set is unknown: it is not at hand."
    return (
        f"{share['exact']:.1%} of these messages have an exact copy in the training set, "
        f"{share['near']:.1%} a near copy."
    )


def headline_rows(metrics: Mapping[str, Any]) -> list[list[object]]:
    """Return each headline score: its name, value, interval as text, and the baseline's value."""
    baseline = metrics["baseline"] or {}
    rows: list[list[object]] = [
        [name, metrics[key], interval_text(metrics["ci"].get(key)), baseline.get(key)]
        for name, key in (
            ("macro-F1", "macro_f1"),
            ("accuracy", "accuracy"),
            ("weighted F1", "weighted_f1"),
            ("balanced accuracy", "balanced_accuracy"),
            ("Matthews", "matthews"),
        )
    ]
    if "coarse" in metrics:
        coarse = metrics["coarse"]
        baseline_coarse = baseline.get("coarse", {})
        rows += [
            [
                f"{name} of parents",
                coarse[key],
                interval_text(metrics["ci"].get("coarse", {}).get(key)),
                baseline_coarse.get(key),
            ]
            for name, key in (("macro-F1", "macro_f1"), ("accuracy", "accuracy"))
        ]
    rows += [
        [name, metrics[key], interval_text(metrics["ci"].get(key)), ""]
        for name, key in (
            ("expected calibration error", "ece"),
            ("log loss (nats)", "nll"),
            ("Brier score (0 to 2)", "brier"),
            ("mean cost of a message", "cost_weighted_error"),
        )
        if key in metrics
    ]
    return rows


def _label_table(rows: Mapping[str, Mapping[str, Any]], ci: Mapping[str, Any]) -> Markup:
    names = ["precision", "recall", "f1", "auprc", "auroc", "support"]
    names = [name for name in names if all(name in row for row in rows.values())]
    bounds = ci.get("per_label", {})
    head, body = (
        ["label", *names],
        [[label, *(row[n] for n in names)] for label, row in rows.items()],
    )
    if bounds:
        head += ["recall, 95 %", "F1, 95 %"]
        for line in body:
            line += [interval_text(bounds[line[0]][name]) for name in ("recall", "f1")]
    return table(head, body)


def _label_bars(metrics: Mapping[str, Any]) -> Markup:
    rows = metrics["per_label"]
    series = {"F1": [row["f1"] or 0.0 for row in rows.values()]}
    return bars(list(rows), series, "F1", "F1 of each label; the table below holds the numbers")
