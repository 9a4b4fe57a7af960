"""metrics.json as a person reads it: a table for the terminal, a report with figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smstune.evaluation.evaluated import set_name
from smstune.evaluation.metrics import Metrics
from smstune.evaluation.mistakes.mistakes import InstructiveAnswers
from smstune.evaluation.report.figures import confusion_blocks, label_figure
from smstune.evaluation.report.sections import (
    answer_sections,
    calibration_section,
    cascade_section,
    explanation_section,
    gate_section,
    limit_section,
    operating_section,
    ranking_section,
    slice_section,
)
from smstune.evaluation.robustness.report import robustness_section
from smstune.evaluation.scores.results import (
    LabelIntervals,
    LabelScores,
    ParentIntervals,
    RankedLabelScores,
)
from smstune.inference.decision import PointScores
from smstune.language import Message
from smstune.reporting.document import Report, Section, Table
from smstune.reporting.format import interval_text, share_text, show


@dataclass(frozen=True)
class EvaluatedRun:
    """A run as its report names it: folder, data with the SHA-256 of the split, base model."""

    path: Path
    data: str
    data_hash: str | None
    base_model: str | None


def headline_table(metrics: Metrics) -> Table:
    """Return the scores of model and linear baseline side by side, then the F1 of each label."""
    rows = headline_rows(metrics)
    baseline = metrics.baseline.per_label if metrics.baseline else {}
    for label, row in metrics.per_label.items():
        messages = Message("{n_messages:,} messages", n_messages=row.support)
        rows.append([f"F1 {label}", row.f1, messages, baseline.get(label)])
    head = [Message("metric"), Message("model"), Message("95 %"), Message("linear baseline")]
    return Table(head, rows)


def evaluation_report(
    metrics: Metrics,
    run: EvaluatedRun,
    answers: InstructiveAnswers,
    training: Section | None = None,
) -> Report:
    """Return the report of an evaluation; ``training`` says how the run was trained, if known."""
    explained = [explanation_section(metrics.explanations)] if metrics.explanations else []
    return Report(
        title=Message("Evaluation of {run}", run=run.path),
        opening=_opening(metrics),
        figure=label_figure(metrics.per_label),
        sections=[
            *_score_sections(metrics),
            *answer_sections(answers),
            *explained,
            *([training] if training else []),
            limit_section(metrics),
            _origin_section(metrics, run),
        ],
    )


def _opening(metrics: Metrics) -> list[str]:
    """Return what a reader needs to decide whether to use the run."""
    sentences: list[str] = [
        Message(
            "Macro-F1 is {macro_f1:.3f}{in_brackets} over {n_messages:,} messages of {set_name}; "
            "{accuracy} of the answers are right.",
            macro_f1=metrics.macro_f1,
            in_brackets=_interval_and_baseline(metrics),
            n_messages=metrics.n,
            set_name=set_name(metrics.split),
            accuracy=share_text(metrics.accuracy),
        )
    ]
    scored = {name: row.f1 for name, row in metrics.per_label.items() if row.f1 is not None}
    weakest = min(scored, key=lambda name: scored[name])
    sentences.append(
        Message(
            "The weakest label is {label} (F1 {f1:.3f}, {n_messages:,} messages).",
            label=weakest,
            f1=scored[weakest],
            n_messages=metrics.per_label[weakest].support,
        )
    )
    sentences += _blocking_sentences(metrics)
    missed = [gate for gate in metrics.gates if not gate.kept]
    if missed:
        sentences.append(
            Message(
                "{n_missed} of {n_gates} required scores are missed.",
                n_missed=len(missed),
                n_gates=len(metrics.gates),
            )
        )
    sentences.append(_contamination_sentence(metrics))
    return sentences


def _interval_and_baseline(metrics: Metrics) -> str:
    """Return what stands beside macro-F1 in brackets, as far as it is known."""
    interval = interval_text(metrics.ci.macro_f1)
    if metrics.baseline is None:
        return Message(" (95 %: {interval})", interval=interval) if interval else ""
    baseline = metrics.baseline.macro_f1
    if not interval:
        return Message(" (linear baseline: {baseline:.3f})", baseline=baseline)
    return Message(
        " (95 %: {interval}; linear baseline: {baseline:.3f})",
        interval=interval,
        baseline=baseline,
    )


def _blocking_sentences(metrics: Metrics) -> list[str]:
    points = [point for point in metrics.operating_points if point.threshold is not None]
    if not metrics.operating_points:
        return [Message("No operating point is configured, so nothing is blocked.")]
    if not points:
        return [
            Message(
                "No operating point has a threshold that keeps its budget, so nothing is blocked."
            )
        ]
    sentences: list[str] = []
    for point in points:
        observed = point.observed
        if isinstance(observed, PointScores):
            sentences.append(
                Message(
                    'The operating point "{point}" blocks {recall} of the messages it guards '
                    "against and {false_positive_rate} of the harmless campaigns.",
                    point=point.name,
                    recall=share_text(observed.recall),
                    false_positive_rate=share_text(observed.false_positive_rate),
                )
            )
    return sentences


def _score_sections(metrics: Metrics) -> list[Section]:
    head = [
        Message("metric"),
        Message("model"),
        Message("95 %"),
        Message("linear baseline"),
    ]
    sections = [
        Section(
            Message("Headline"),
            Message(
                "Intervals are by bootstrap over campaigns. The baseline is character TF-IDF with "
                "a linear SVM, trained on the same split."
            ),
            [Table(head, headline_rows(metrics))],
        ),
        *gate_section(metrics.gates),
        operating_section(metrics),
        Section(
            Message("Labels"),
            Message(
                "A dash: the score is undefined because there are no such messages or answers."
            ),
            [_label_table(metrics.per_label, metrics.ci.per_label)],
        ),
        Section(
            Message("Confusion matrix"),
            Message(
                "Rows are the true label, columns the predicted one; shades are shares of a row."
            ),
            confusion_blocks(metrics.confusion_matrix, metrics.labels),
        ),
    ]
    if metrics.coarse is not None:
        sections.append(
            Section(
                Message("Parents of the labels"),
                Message("A message is right if the parent of its predicted label is."),
                [
                    _label_table(metrics.coarse.per_label, {}),
                    *confusion_blocks(metrics.coarse.confusion_matrix, metrics.coarse.labels),
                ],
            )
        )
    return [
        *sections,
        ranking_section(metrics),
        calibration_section(metrics.calibration),
        *cascade_section(metrics.calibration, metrics.split),
        *slice_section(metrics.slices),
        *([robustness_section(metrics.robustness)] if metrics.robustness else []),
    ]


def _contamination_sentence(metrics: Metrics) -> str:
    shares = metrics.contamination
    if shares is None:
        return Message("Contamination is unknown because the training set is not available.")
    return Message(
        "{exact} of these messages have an exact copy in the training set, {near} a near copy.",
        exact=share_text(shares.exact),
        near=share_text(shares.near),
    )


def headline_rows(metrics: Metrics) -> list[list[object]]:
    """Return each headline score: its name, value, interval as text, and the baseline's value."""
    baseline, ci = metrics.baseline, metrics.ci
    rows: list[list[object]] = [
        [
            Message("macro-F1"),
            metrics.macro_f1,
            interval_text(ci.macro_f1),
            baseline and baseline.macro_f1,
        ],
        [
            Message("accuracy"),
            metrics.accuracy,
            interval_text(ci.accuracy),
            baseline and baseline.accuracy,
        ],
        [
            Message("weighted F1"),
            metrics.weighted_f1,
            interval_text(ci.weighted_f1),
            baseline and baseline.weighted_f1,
        ],
        [
            Message("balanced accuracy"),
            metrics.balanced_accuracy,
            interval_text(ci.balanced_accuracy),
            None,
        ],
        [Message("Matthews"), metrics.matthews, interval_text(ci.matthews), None],
    ]
    if metrics.coarse is not None:
        of_baseline = baseline.coarse if baseline else None
        of_parents = ci.coarse or ParentIntervals(accuracy=None, macro_f1=None, weighted_f1=None)
        rows += [
            [
                Message("macro-F1 of parents"),
                metrics.coarse.macro_f1,
                interval_text(of_parents.macro_f1),
                of_baseline and of_baseline.macro_f1,
            ],
            [
                Message("accuracy of parents"),
                metrics.coarse.accuracy,
                interval_text(of_parents.accuracy),
                of_baseline and of_baseline.accuracy,
            ],
        ]
    # Those of parents and labels are in metrics.json alone.
    shown_elsewhere = {*metrics.labels, *(metrics.coarse.labels if metrics.coarse else ())}
    rows += [
        [
            Message("macro-F1 of {group} against all others", group=group),
            macro_f1,
            interval_text(ci.group_macro_f1.get(group)),
            baseline and baseline.group_macro_f1.get(group),
        ]
        for group, macro_f1 in metrics.group_macro_f1.items()
        if group not in shown_elsewhere
    ]
    rows += [
        [Message("expected calibration error"), metrics.ece, interval_text(ci.ece), ""],
        [Message("log loss (nats)"), metrics.nll, interval_text(ci.nll), ""],
        [Message("Brier score (0 to 2)"), metrics.brier, interval_text(ci.brier), ""],
    ]
    if metrics.cost_weighted_error is not None:
        cost = metrics.cost_weighted_error
        interval = interval_text(ci.cost_weighted_error)
        rows.append([Message("mean cost of a message"), cost, interval, ""])
    return rows


def _label_table(
    per_label: Mapping[str, LabelScores], intervals: Mapping[str, LabelIntervals]
) -> Table:
    ranked = all(isinstance(row, RankedLabelScores) for row in per_label.values())
    head = [Message("label"), Message("precision"), Message("recall"), "F1"]
    head += ["AUPRC", "AUROC"] if ranked else []
    head.append(Message("number of messages"))
    head += [Message("recall, 95 %"), Message("F1, 95 %")] if intervals else []
    rows = []
    for label, row in per_label.items():
        areas = [row.auprc, row.auroc] if isinstance(row, RankedLabelScores) else []
        bounds = intervals.get(label)
        texts = [interval_text(bounds.recall), interval_text(bounds.f1)] if bounds else []
        rows.append([label, row.precision, row.recall, row.f1, *areas, row.support, *texts])
    return Table(head, rows)


def _origin_section(metrics: Metrics, run: EvaluatedRun) -> Section:
    speed = metrics.throughput
    rows: list[list[object]] = [
        [Message("data"), run.data],
        [Message("SHA-256 of {set_name}", set_name=set_name(metrics.split)), run.data_hash],
        [Message("base model"), run.base_model or Message("built from scratch")],
        [
            Message("scored by"),
            Message(
                "{backend}, {precision}, on {machine}",
                backend=speed.backend,
                precision=speed.precision,
                machine=speed.machine,
            ),
        ],
        [Message("messages per second"), show(round(speed.messages_per_second))],
    ]
    table = Table(["", Message("value")], rows, text_columns=[Message("value")])
    return Section(Message("How it was measured"), "", [table])
