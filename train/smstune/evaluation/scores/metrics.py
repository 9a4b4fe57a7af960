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
from smstune.inference.decision import biased_labels
from smstune.inference.labels import LabelMap

ECE_BINS = 15
_NO_MESSAGE, _NO_ANSWER = "no positives: no message of it", "never answered"


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
        return compute_metrics(
            np.array(predictions),
            np.array(references),
            LabelMap.from_names(labels, parents),
            label_bias=label_bias or (),
            groups=groups or {},
            costs=costs or {},
        )


def compute_metrics(
    probabilities: Floats,
    truth: Ints,
    labels: LabelMap,
    *,
    label_bias: Sequence[float] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Return the scores of ``metrics.json`` that follow from probabilities and true labels.

    All in [0, 1] but ``nll`` (mean, in nats), ``brier`` (mean squared distance of probabilities and
    truth over all labels, in [0, 2]: Brier, 1950), ``matthews`` (in [-1, 1]) and
    ``cost_weighted_error`` (mean cost, only with ``costs``). ``coarse`` is there where all labels
    have parents. A score that has no value is ``None``, and ``undefined`` beside it says why.

    Raises:
        UserError: on probabilities that are not finite.
        ValueError: on probabilities of another shape, or no message.
    """
    check_probabilities(probabilities, truth, len(labels.names))
    predicted = biased_labels(probabilities, label_bias)
    matrix = confusion(truth, predicted, len(labels.names))
    measured = measured_groups(labels, groups or {})
    confidence = probabilities[np.arange(len(truth)), predicted]
    scores: dict[str, Any] = {
        "n": len(truth),
        **summarize(matrix),
        "nll": float(-np.log(probabilities[np.arange(len(truth)), truth].clip(1e-12)).mean()),
        "brier": float(
            brier_score_loss(
                truth, probabilities, labels=range(len(labels.names)), scale_by_half=False
            )
        ),
        "ece": expected_calibration_error(confidence, predicted == truth),
        "per_label": {
            name: _with_areas(row, truth == k, probabilities[:, k])
            for k, (name, row) in enumerate(zip(labels.names, per_label(matrix), strict=True))
        },
        "confusion_matrix": matrix.tolist(),
        "labels": list(labels.names),
        "recall_at_fpr": recalls_at_rates(probabilities, truth, measured),
        "precision_recall": precision_recall_curves(probabilities, truth, measured),
    }
    if costs:
        scores["cost_weighted_error"] = float(
            (matrix * cost_matrix(costs, labels)).sum() / len(truth)
        )
    if labels.parent_names:
        scores["coarse"] = _coarse(truth, predicted, labels)
    return scores


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
    never answered counts as 0 there. Matthews is NaN where all messages or all answers are of one
    label. Gorodkin (2004) for its form with several labels.
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
    """Return the overall scores of a confusion matrix, ``None`` with its reason for no value."""
    scores: dict[str, Any] = {
        name: None if np.isnan(value) else float(value)
        for name, value in matrix_scores(matrix).items()
    }
    if scores["matthews"] is None:
        one = (matrix.sum(axis=1) > 0).sum() == 1
        scores["undefined"] = {
            "matthews": f"all {'messages' if one else 'answers'} are of one label"
        }
    return scores


def f1_scores(matrix: NDArray[Any]) -> Floats:
    """Return the F1 of each label, over the last two axes; 0 where nothing is there to count."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _ratio(2.0 * hits, matrix.sum(axis=-1) + matrix.sum(axis=-2))


def per_label(matrix: Ints) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each label of a confusion matrix.

    What has no value is ``None``, and ``undefined`` says why.
    """
    rows = []
    for k, f1 in enumerate(f1_scores(matrix)):
        hits, support, answered = matrix[k, k], matrix[k].sum(), matrix[:, k].sum()
        row: dict[str, Any] = {
            "precision": float(hits / answered) if answered else None,
            "recall": float(hits / support) if support else None,
            "f1": float(f1) if support else None,
            "support": int(support),
        }
        reasons = {} if support else {"recall": _NO_MESSAGE, "f1": _NO_MESSAGE}
        if not answered:
            reasons["precision"] = _NO_ANSWER
        rows.append({**row, "undefined": reasons} if reasons else row)
    return rows


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Return the mean gap of confidence and accuracy over 15 bins of equal mass.

    Equal mass as in Nixon et al. (2019), "Measuring Calibration in Deep Learning": with bins of
    equal width nearly all messages of a good model fall into the last one.
    """
    bins = reliability(confidence, right)
    return float(sum(abs(row["confidence"] - row["accuracy"]) * row["n"] for row in bins)) / len(
        right
    )


def reliability(confidence: Floats, right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return mean ``confidence``, ``accuracy`` and ``n`` of each bin of equal mass."""
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, ECE_BINS) if len(part)]
    return [
        {
            "confidence": float(confidence[part].mean()),
            "accuracy": float(right[part].mean()),
            "n": len(part),
        }
        for part in bins
    ]


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)


def _with_areas(
    row: Mapping[str, Any], positive: NDArray[np.bool_], score: Floats
) -> dict[str, Any]:
    found = areas(positive, score)
    reason = one_sided(positive)
    reasons = {
        **row.get("undefined", {}),
        **{name: reason for name, value in found.items() if value is None},
    }
    full = {**row, **found}
    return {**full, "undefined": reasons} if reasons else full


def _coarse(truth: Ints, predicted: Ints, labels: LabelMap) -> dict[str, Any]:
    """Score the parents: a message is right when the parent of its predicted label is."""
    parent = np.array(labels.parent_ids())
    matrix = confusion(parent[truth], parent[predicted], len(labels.parent_names))
    return {
        **summarize(matrix),
        "labels": list(labels.parent_names),
        "per_label": dict(zip(labels.parent_names, per_label(matrix), strict=True)),
        "confusion_matrix": matrix.tolist(),
    }
