"""Figures of the evaluation report, each with the table of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smstune.evaluation.metrics import CalibrationFacts
from smstune.evaluation.scores.ranking import RECALLS
from smstune.evaluation.scores.results import LabelScores
from smstune.language import Message
from smstune.reporting.charts import BarChart, ConfusionGrid, Line, LineChart
from smstune.reporting.document import Block, Figure, Table, Text
from smstune.reporting.format import percent

_MAX_CONFUSED = 20
_SHOWN_RECALLS = (0.5, 0.8, 0.9, 0.95, 1.0)
_COLOURS = 6
#: Of the series colours, the grey one.
_GREY = 4


def label_figure(per_label: Mapping[str, LabelScores]) -> Figure:
    """Return the F1 of each label as bars."""
    f1 = [row.f1 or 0.0 for row in per_label.values()]
    return Figure(
        [BarChart(list(per_label), {"F1": f1}, "F1")], Message("F1 of each label as bars")
    )


def confusion_blocks(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> list[Block]:
    """Return a confusion matrix as a grid, and the labels that are confused most."""
    confused = sorted(
        (-count, labels[row], labels[column])
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if row != column and count
    )
    rows = [[truth, answer, -count] for count, truth, answer in confused[:_MAX_CONFUSED]]
    grid = ConfusionGrid(counts, labels)
    figure = Figure([grid], Message("Confusion matrix with a count in each cell"))
    if not rows:
        return [figure, Text(Message("There are no mistakes."))]
    head = [Message("label"), Message("taken for"), Message("number of messages")]
    return [figure, Table(head, rows, text_columns=[Message("taken for")])]


def precision_recall_blocks(curves: Mapping[str, Sequence[float]]) -> list[Block]:
    """Return precision over recall of each group of labels, and a table of a few recalls."""
    lines = [
        Line(name, list(zip(RECALLS, curve, strict=True)), number, dashed=number >= _COLOURS)
        for number, (name, curve) in enumerate(curves.items())
    ]
    head = [Message("precision at recall"), *(percent(recall) for recall in _SHOWN_RECALLS)]
    rows = [
        [name, *(curve[RECALLS.index(recall)] for recall in _SHOWN_RECALLS)]
        for name, curve in curves.items()
    ]
    chart = LineChart(lines, Message("recall"), Message("precision"), y_range=(0, 1))
    description = Message("Precision over recall of each group of labels")
    return [Figure([chart], description), Table(head, rows)]


def reliability_blocks(calibration: CalibrationFacts) -> list[Block]:
    """Return accuracy over confidence before and after calibration, and a table of the bins."""
    before, after = calibration.before.reliability, calibration.after.reliability
    lines = [
        Line(Message("perfectly calibrated"), [(0, 0), (1, 1)], _GREY, dashed=True),
        *(
            Line(name, [(row.confidence, row.accuracy) for row in bins], number, markers=True)
            for number, (name, bins) in enumerate(
                (
                    (Message("before calibration"), before),
                    (Message("after calibration"), after),
                )
            )
        ),
    ]
    head = [
        Message("number of messages"),
        Message("confidence before"),
        Message("accuracy before"),
        Message("confidence after"),
        Message("accuracy after"),
    ]
    rows = [
        [old.n, old.confidence, old.accuracy, new.confidence, new.accuracy]
        for old, new in zip(before, after, strict=True)
    ]
    chart = LineChart(lines, Message("confidence"), Message("accuracy"), y_range=(0, 1))
    return [Figure([chart], Message("Accuracy over confidence")), Table(head, rows)]
