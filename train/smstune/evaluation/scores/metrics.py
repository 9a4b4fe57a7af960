"""SmsMetric: every score of a labelled set of predictions, offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from smstune.arrays import Floats, Ints
from smstune.errors import UserError
from smstune.evaluation.scores.costs import cost_matrix
from smstune.evaluation.scores.ranking import (
    areas,
    measured_groups,
    one_sided,
    precision_recall_curves,
    recalls_at_rates,
)
from smstune.evaluation.scores.results import (
    LabelScores,
    ParentScores,
    RankedLabelScores,
    ReliabilityBin,
    Scores,
    undefined,
)
from smstune.inference.decision import biased_labels
from smstune.inference.labels import LabelMap
from smstune.language import Message

ECE_BINS = 15
_NO_MESSAGE, _NO_ANSWER = Message("no message has this label"), Message("never answered")


class SmsMetric(evaluate.Metric):
    """The scores of ``metrics.json`` from probabilities and label ids.

    ``compute(predictions=..., references=..., labels=..., ...)``: probabilities of shape
    (messages, labels) in the order of ``labels``; ``parents`` as in a LabelMap; ``label_bias``,
    ``groups`` and ``costs`` as in the configuration. Lives in the library, so that nothing is
    fetched at run time. Several processes may each add their part (``num_process``,
    ``process_id``); the first computes over all.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Scores of an SMS classifier, per label and overall.",
            citation="",
            features=Features(
                {"predictions": List(Value("float64")), "references": Value("int64")}
            ),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[int],
        labels: list[str],
        parents: list[str | None] | None = None,
        label_bias: list[float] | None = None,
        groups: dict[str, list[str]] | None = None,
        costs: dict[str, dict[str, float]] | None = None,
    ) -> dict[str, Any]:
        return compute_scores(
            np.array(predictions),
            np.array(references),
            LabelMap.from_names(labels, parents),
            label_bias=label_bias or (),
            groups=groups or {},
            costs=costs or {},
        ).to_json()


def compute_scores(
    probabilities: Floats,
    truth: Ints,
    labels: LabelMap,
    *,
    label_bias: Sequence[float] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> Scores:
    """Return the scores that follow from probabilities and true labels.

    Raises:
        UserError: on probabilities that are not finite.
        ValueError: on probabilities of another shape, or no message.
    """
    check_probabilities(probabilities, truth, len(labels.names))
    predicted = biased_labels(probabilities, label_bias)
    matrix = confusion(truth, predicted, len(labels.names))
    measured = measured_groups(labels, groups or {})
    confidence = probabilities[np.arange(len(truth)), predicted]
    likelihood = probabilities[np.arange(len(truth)), truth]
    optional: dict[str, Any] = {}
    if costs:
        total = (matrix * cost_matrix(costs, labels)).sum()
        optional["cost_weighted_error"] = float(total / len(truth))
    if labels.parent_names:
        optional["coarse"] = _parent_scores(truth, predicted, labels)
    return Scores(
        n=len(truth),
        **summarize(matrix),
        nll=float(-np.log(likelihood.clip(1e-12)).mean()),
        brier=float(
            brier_score_loss(
                truth, probabilities, labels=range(len(labels.names)), scale_by_half=False
            )
        ),
        ece=expected_calibration_error(confidence, predicted == truth),
        per_label={
            name: _ranked(row, truth == label_id, probabilities[:, label_id])
            for label_id, (name, row) in enumerate(
                zip(labels.names, per_label(matrix), strict=True)
            )
        },
        confusion_matrix=matrix.tolist(),
        labels=list(labels.names),
        recall_at_fpr=recalls_at_rates(probabilities, truth, measured),
        precision_recall=precision_recall_curves(probabilities, truth, measured),
        group_macro_f1={
            name: float(group_macro_f1(matrix, label_ids)) for name, label_ids in measured.items()
        },
        **optional,
    )


def check_probabilities(probabilities: Floats, truth: Ints, size: int) -> None:
    """Refuse probabilities that are not finite or of another shape, and an empty set."""
    if probabilities.shape != (len(truth), size) or not len(truth):
        raise ValueError(
            f"expected probabilities of shape ({len(truth)}, {size}) with at least one message, "
            f"found {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        raise UserError(
            "expected finite probabilities, found NaN or infinity: the model diverged, train again "
            "with a lower learning rate"
        )


def headline(truth: Ints, predicted: Ints) -> dict[str, float]:
    """Return ``accuracy``, ``macro_f1`` and ``weighted_f1`` of predicted label ids."""
    size = int(max(truth.max(), predicted.max())) + 1
    scores = matrix_scores(confusion(truth, predicted, size))
    return {name: float(scores[name]) for name in ("accuracy", "macro_f1", "weighted_f1")}


def confusion(truth: Ints, predicted: Ints, size: int) -> Ints:
    """Return counts, shape ``(size, size)``: rows the true label, columns the predicted one."""
    return np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)


def matrix_scores(matrix: NDArray[Any]) -> dict[str, Floats]:
    """Return the overall scores of confusion matrices over their last two axes.

    Macro averages are over the labels that have messages; the precision of such a label that is
    never answered counts as 0 there. Matthews' coefficient, in Gorodkin's form (2004) for several
    labels, is NaN where all messages or all answers are of one label.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    support, answered = matrix.sum(axis=-1), matrix.sum(axis=-2)
    n = support.sum(axis=-1)
    present = support > 0
    rows = {"precision": _ratio(hits, answered), "recall": _ratio(hits, support)}
    rows["f1"] = f1_scores(matrix)
    scores = {"accuracy": hits.sum(axis=-1) / n}
    for name, row in rows.items():
        scores[f"macro_{name}"] = (row * present).sum(axis=-1) / present.sum(axis=-1)
        scores[f"weighted_{name}"] = (row * support).sum(axis=-1) / n
        # Each message has one label and one answer: the three micro averages are the accuracy.
        scores[f"micro_{name}"] = scores["accuracy"]
    scores["balanced_accuracy"] = scores["macro_recall"]
    covariance = hits.sum(axis=-1) * n - (support * answered).sum(axis=-1)
    spread = (n**2 - (support**2).sum(axis=-1)) * (n**2 - (answered**2).sum(axis=-1))
    scores["matthews"] = np.divide(
        covariance, np.sqrt(spread), out=np.full(n.shape, np.nan), where=spread > 0
    )
    return scores


def summarize(matrix: NDArray[Any]) -> dict[str, Any]:
    """Return the fields of ``MatrixScores`` for a confusion matrix."""
    scores = {
        name: None if np.isnan(score) else float(score)
        for name, score in matrix_scores(matrix).items()
    }
    if scores["matthews"] is not None:
        return scores
    one_label = (matrix.sum(axis=1) > 0).sum() == 1
    reason = f"all {'messages' if one_label else 'answers'} are of one label"
    return {**scores, "undefined": {"matthews": reason}}


def group_macro_f1(matrix: NDArray[Any], label_ids: Sequence[int]) -> Floats:
    """Return the macro-F1 of two classes, these labels and all others, over the last two axes."""
    size = matrix.shape[-1]
    in_group = np.isin(np.arange(size), label_ids)
    classes = np.stack([in_group, ~in_group], axis=1).astype(np.int64)
    return matrix_scores(classes.T @ matrix @ classes)["macro_f1"]


def f1_scores(matrix: NDArray[Any]) -> Floats:
    """Return the F1 of each label, over the last two axes; 0 where nothing is there to count."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _ratio(2.0 * hits, matrix.sum(axis=-1) + matrix.sum(axis=-2))


def per_label(matrix: Ints) -> list[LabelScores]:
    """Return the scores of each label of a confusion matrix."""
    rows = []
    for label_id, f1 in enumerate(f1_scores(matrix)):
        hits = matrix[label_id, label_id]
        support, answered = matrix[label_id].sum(), matrix[:, label_id].sum()
        reasons: dict[str, str] = {} if support else {"recall": _NO_MESSAGE, "f1": _NO_MESSAGE}
        if not answered:
            reasons["precision"] = _NO_ANSWER
        rows.append(
            LabelScores(
                precision=float(hits / answered) if answered else None,
                recall=float(hits / support) if support else None,
                f1=float(f1) if support else None,
                support=int(support),
                **undefined(reasons),
            )
        )
    return rows


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Return the mean gap of confidence and accuracy over 15 bins of equal mass.

    Equal mass as in Nixon et al. (2019), "Measuring Calibration in Deep Learning": with bins of
    equal width nearly all messages of a good model fall into the last one.
    """
    bins = reliability(confidence, right)
    gaps = sum(abs(row.confidence - row.accuracy) * row.n for row in bins)
    return float(gaps) / len(right)


def reliability(confidence: Floats, right: NDArray[np.bool_]) -> list[ReliabilityBin]:
    """Return the messages in bins of equal mass, the least confident first."""
    order = np.argsort(confidence, kind="stable")
    return [
        ReliabilityBin(
            confidence=float(confidence[rows].mean()),
            accuracy=float(right[rows].mean()),
            n=len(rows),
        )
        for rows in np.array_split(order, ECE_BINS)
        if len(rows)
    ]


def _ratio(counts: NDArray[Any], totals: NDArray[Any]) -> Floats:
    return np.divide(counts, totals, out=np.zeros(totals.shape), where=totals > 0)


def _ranked(row: LabelScores, positive: NDArray[np.bool_], score: Floats) -> RankedLabelScores:
    """Return a label's scores with the areas under its curves."""
    auprc, auroc = areas(positive, score)
    reasons = dict(row.undefined)
    for name, area in (("auprc", auprc), ("auroc", auroc)):
        if area is None:
            reasons[name] = one_sided(positive) or ""
    return RankedLabelScores(
        precision=row.precision,
        recall=row.recall,
        f1=row.f1,
        support=row.support,
        auprc=auprc,
        auroc=auroc,
        **undefined(reasons),
    )


def _parent_scores(truth: Ints, predicted: Ints, labels: LabelMap) -> ParentScores:
    """Score the parents: a message is right if the parent of its answer is."""
    parent = np.array(labels.parent_ids())
    matrix = confusion(parent[truth], parent[predicted], len(labels.parent_names))
    return ParentScores(
        **summarize(matrix),
        labels=list(labels.parent_names),
        per_label=dict(zip(labels.parent_names, per_label(matrix), strict=True)),
        confusion_matrix=matrix.tolist(),
    )
