"""SmsMetric: every score of a labelled set of predictions, offline."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from train.data.labels import LabelMap

_ECE_BINS = 15


class SmsMetric(evaluate.Metric):
    """The scores of ``metrics.json`` from probabilities and label ids.

    ``compute(predictions=..., references=..., labels=..., parents=...)``: probabilities of shape
    (messages, labels) in the order of ``labels``; ``parents`` as in a LabelMap. Lives in the
    library, so that nothing is fetched at run time.
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
    ) -> dict[str, Any]:
        label_map = LabelMap.from_names(labels, parents)
        return compute_metrics(np.array(predictions), np.array(references), label_map)


def compute_metrics(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], labels: LabelMap
) -> dict[str, Any]:
    """Return the scores of ``metrics.json`` that follow from probabilities and true labels.

    They are ``n, accuracy, macro_f1, weighted_f1, nll, ece, per_label, confusion_matrix, labels``
    and, where all labels have parents, ``coarse``.
    All in [0, 1] but ``nll`` (mean, in nats). A score that has no value is ``None``: recall, F1 and
    average precision of a label without messages, precision of one never predicted.

    Raises:
        ValueError: on probabilities that are not finite or of another shape, or no message.
    """
    if probabilities.shape != (len(truth), len(labels.names)) or not len(truth):
        raise ValueError(
            f"expected probabilities of shape ({len(truth)}, {len(labels.names)}) with at least "
            f"one message, found {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("expected finite probabilities, found NaN or infinity: the model diverged")
    predicted = probabilities.argmax(axis=1)
    matrix = confusion(truth, predicted, len(labels.names))
    auprc = [_average_precision(truth == k, probabilities[:, k]) for k in range(len(matrix))]
    scores: dict[str, Any] = {
        "n": len(truth),
        **summarize(matrix),
        "nll": float(-np.log(probabilities[np.arange(len(truth)), truth].clip(1e-12)).mean()),
        "ece": expected_calibration_error(probabilities.max(axis=1), predicted == truth),
        "per_label": {
            name: {**row, "auprc": auprc[k]}
            for k, (name, row) in enumerate(zip(labels.names, per_label(matrix), strict=True))
        },
        "confusion_matrix": matrix.tolist(),
        "labels": list(labels.names),
    }
    if labels.parent_names:
        scores["coarse"] = _coarse(truth, predicted, labels)
    return scores


def headline(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    """Return ``accuracy``, ``macro_f1`` and ``weighted_f1`` of predicted label ids."""
    size = int(max(truth.max(), predicted.max())) + 1
    return summarize(confusion(truth, predicted, size))


def confusion(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Return counts, shape ``(size, size)``: rows the true label, columns the predicted one."""
    return np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)


def summarize(matrix: NDArray[Any]) -> dict[str, float]:
    """Return the headline scores of a confusion matrix.

    Macro-F1 is the mean over the labels that have messages; a label without any has no F1.
    """
    support = matrix.sum(axis=1)
    f1 = f1_scores(matrix)
    return {
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "macro_f1": float(f1[support > 0].mean()),
        "weighted_f1": float((f1 * support).sum() / support.sum()),
    }


def f1_scores(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Return the F1 of each label, over the last two axes; 0 where nothing is there to count."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    total = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    f1: NDArray[np.float64] = np.divide(
        2.0 * hits, total, out=np.zeros(total.shape), where=total > 0
    )
    return f1


def per_label(matrix: NDArray[np.int64]) -> list[dict[str, float | int | None]]:
    """Return precision, recall, F1 and support of each label of a confusion matrix."""
    rows: list[dict[str, float | int | None]] = []
    for k, f1 in enumerate(f1_scores(matrix)):
        hits, support, answered = matrix[k, k], matrix[k].sum(), matrix[:, k].sum()
        rows.append(
            {
                "precision": float(hits / answered) if answered else None,
                "recall": float(hits / support) if support else None,
                "f1": float(f1) if support else None,
                "support": int(support),
            }
        )
    return rows


def expected_calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the mean gap of confidence and accuracy over 15 bins of equal mass.

    Equal mass as in Nixon et al. (2019), "Measuring Calibration in Deep Learning": with bins of
    equal width nearly all messages of a good model fall into the last one.
    """
    order = np.argsort(confidence)
    bins = [part for part in np.array_split(order, _ECE_BINS) if len(part)]
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in bins]
    return float(sum(gaps) / len(order))


def _average_precision(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float | None:
    return float(average_precision_score(positive, score)) if positive.any() else None


def _coarse(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: LabelMap
) -> dict[str, Any]:
    """Score the parents: a message is right when the parent of its predicted label is."""
    parent = np.array(labels.parent_ids())
    matrix = confusion(parent[truth], parent[predicted], len(labels.parent_names))
    return {
        **summarize(matrix),
        "labels": list(labels.parent_names),
        "per_label": dict(zip(labels.parent_names, per_label(matrix), strict=True)),
        "confusion_matrix": matrix.tolist(),
    }
