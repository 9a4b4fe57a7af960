"""The scores of an evaluation, as ``metrics.json`` holds them.

A score that has no value is ``None``, and ``undefined`` beside it says why.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from smstune.config.choices import Precision
from smstune.results import Result

#: Lower and upper end of a 95 % interval.
Bounds = tuple[float, float]


def undefined(reasons: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return the field ``undefined`` where there is a reason, so that JSON has it only then."""
    return {"undefined": reasons} if reasons else {}


class MatrixScores(Result):
    """Scores in [0, 1] that follow from a confusion matrix; ``matthews`` is in [-1, 1]."""

    accuracy: float
    macro_precision: float
    weighted_precision: float
    micro_precision: float
    macro_recall: float
    weighted_recall: float
    micro_recall: float
    macro_f1: float
    weighted_f1: float
    micro_f1: float
    balanced_accuracy: float
    matthews: float | None
    undefined: dict[str, str] = Field(default={})


class LabelScores(Result):
    """Scores of a label or a parent in [0, 1], and ``support``, its messages."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    undefined: dict[str, str] = Field(default={})


class RankedLabelScores(LabelScores):
    """Also the areas under the curves of precision over recall and of ROC, in [0, 1]."""

    auprc: float | None
    auroc: float | None


class ParentScores(MatrixScores):
    """Scores where a message is right if the parent of its answer is."""

    labels: list[str]
    per_label: dict[str, LabelScores]
    #: Rows are the true parent, columns the parent of the answer.
    confusion_matrix: list[list[int]]


class RecallAtRate(Result):
    """Recall of a group of labels at the lowest threshold whose false-positive rate is kept.

    ``false_positives`` is how many of the ``negatives`` the rate allows.
    """

    group: str
    false_positive_rate: float
    recall: float | None
    threshold: float | None
    positives: int
    negatives: int
    false_positives: int
    undefined: dict[str, str] = Field(default={})


class Scores(MatrixScores):
    """What follows from probabilities and true labels alone.

    ``nll`` is in nats, ``brier`` (mean squared distance of probabilities and truth over all labels:
    Brier, 1950) in [0, 2], ``ece`` the expected calibration error. ``cost_weighted_error`` is there
    where costs are configured, ``coarse`` where all labels have parents. ``group_macro_f1`` is, by
    group of labels, the macro-F1 of two classes: the group and all other labels. Evaluations of
    earlier versions do not have it.
    """

    n: int
    nll: float
    brier: float
    ece: float
    per_label: dict[str, RankedLabelScores]
    #: Rows are the true label, columns the answer.
    confusion_matrix: list[list[int]]
    labels: list[str]
    recall_at_fpr: list[RecallAtRate]
    #: For each group of labels the best precision at each of ``ranking.RECALLS`` or beyond.
    precision_recall: dict[str, list[float]]
    cost_weighted_error: float | None = None
    coarse: ParentScores | None = None
    group_macro_f1: dict[str, float] = Field(default={})


class LabelIntervals(Result):
    """Intervals of a label's scores."""

    precision: Bounds | None
    recall: Bounds | None
    f1: Bounds | None


class ParentIntervals(Result):
    """Intervals of the scores of parents."""

    accuracy: Bounds | None
    macro_f1: Bounds | None
    weighted_f1: Bounds | None


class Intervals(Result):
    """95 % intervals by bootstrap over campaigns; all absent where none were asked for."""

    accuracy: Bounds | None = None
    macro_f1: Bounds | None = None
    weighted_f1: Bounds | None = None
    balanced_accuracy: Bounds | None = None
    matthews: Bounds | None = None
    per_label: dict[str, LabelIntervals] = Field(default={})
    coarse: ParentIntervals | None = None
    group_macro_f1: dict[str, Bounds | None] = Field(default={})
    cost_weighted_error: Bounds | None = None
    nll: Bounds | None = None
    brier: Bounds | None = None
    ece: Bounds | None = None
    #: By group of labels and false-positive rate.
    recall_at_fpr: dict[str, dict[str, Bounds | None]] = Field(default={})
    undefined: dict[str, str] = Field(default={})


class BaselineParents(Result):
    """Scores of the linear baseline over parents."""

    accuracy: float
    macro_f1: float
    weighted_f1: float


class Baseline(Result):
    """Scores of the linear baseline on the same messages, and its F1 of each label."""

    accuracy: float
    macro_f1: float
    weighted_f1: float
    per_label: dict[str, float | None]
    coarse: BaselineParents | None = None
    group_macro_f1: dict[str, float] = Field(default={})


class SliceScores(Result):
    """Scores of a part of the set; ``ci`` is of the accuracy.

    ``coarse_accuracy`` is there where labels have parents.
    """

    slice: str
    n: int
    campaigns: int
    accuracy: float
    ci: Bounds | None
    macro_f1: float
    coarse_accuracy: float | None = None


class ReliabilityBin(Result):
    """Mean confidence and accuracy of the ``n`` messages of a bin."""

    confidence: float
    accuracy: float
    n: int


class Reliability(Result):
    """The expected calibration error and the bins it is computed over."""

    ece: float
    reliability: list[ReliabilityBin]


class GateResult(Result):
    """A gate of the configuration, the value it looked at, and whether it was kept."""

    score: str
    label: str | None = None
    slice: str | None = None
    min: float | None = None
    max: float | None = None
    value: float | None
    kept: bool


class Throughput(Result):
    """How fast the set was scored, where, and by what."""

    messages_per_second: float
    device: str
    machine: str
    backend: Literal["torch", "onnx"]
    precision: Precision
