"""Scores of how messages are ranked: areas, curves, recall at a fixed false-positive rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from smstune.arrays import Flags, Floats
from smstune.evaluation.scores.results import RecallAtRate, undefined
from smstune.inference.labels import LabelMap
from smstune.language import Message

#: The false-positive rates at which recall is measured.
FALSE_POSITIVE_RATES = (0.01, 0.001)
#: Recalls at which a precision-recall curve is kept.
RECALLS = tuple(round(0.05 * step, 2) for step in range(1, 21))


def one_sided(positive: Flags) -> str | None:
    """Say why a ranking of these messages has no value, or ``None`` if it has one."""
    if not positive.any():
        return Message("no message has this label")
    if positive.all():
        return Message("every message has this label")
    return None


def areas(positive: Flags, score: Floats) -> tuple[float | None, float | None]:
    """Return average precision and the area under ROC; ``None`` where they have no value."""
    auprc = float(average_precision_score(positive, score)) if positive.any() else None
    auroc = float(roc_auc_score(positive, score)) if one_sided(positive) is None else None
    return auprc, auroc


def measured_groups(labels: LabelMap, groups: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Return by name the label ids that are ranked together against the rest.

    Each parent (each label, where labels have no parents) and the ``groups`` of the configuration.

    Raises:
        UserError: if a group names what is no label.
    """
    label_ids = {
        name: labels.ids_of([name], "labels") for name in (labels.parent_names or labels.names)
    }
    for name, members in groups.items():
        label_ids[name] = labels.ids_of(members, f"evaluation.groups.{name}")
    return label_ids


def recalls_at_rates(
    probabilities: Floats, truth: NDArray[np.int64], groups: Mapping[str, Sequence[int]]
) -> list[RecallAtRate]:
    """Return recall at the lowest threshold that keeps a false-positive rate, by group and rate.

    A message's score is the summed probability of the group's labels.
    """
    rows = []
    for name, members in groups.items():
        positive = np.isin(truth, members)
        score = probabilities[:, list(members)].sum(axis=1)
        reason = one_sided(positive)
        for rate in FALSE_POSITIVE_RATES:
            recall, threshold = (
                recall_at_rate(positive, score, rate) if reason is None else (None, None)
            )
            rows.append(
                RecallAtRate(
                    group=name,
                    false_positive_rate=rate,
                    recall=recall,
                    threshold=threshold,
                    positives=int(positive.sum()),
                    negatives=int((~positive).sum()),
                    false_positives=int(rate * (~positive).sum()),
                    **undefined({} if reason is None else {"recall": reason}),
                )
            )
    return rows


def recall_at_rate(positive: Flags, score: Floats, rate: float) -> tuple[float, float | None]:
    """Return the best recall with a false-positive rate of at most ``rate``, and its threshold.

    The threshold is ``None`` where nothing may be flagged.
    """
    false_rate, recall, threshold = roc_curve(positive, score, drop_intermediate=False)
    best = int(np.flatnonzero(false_rate <= rate)[-1])
    lowest = float(threshold[best])
    return float(recall[best]), lowest if np.isfinite(lowest) else None


def precision_recall_curves(
    probabilities: Floats, truth: NDArray[np.int64], groups: Mapping[str, Sequence[int]]
) -> dict[str, list[float]]:
    """Return for each group its best precision at each of ``RECALLS`` or beyond.

    Groups that have no curve (no positives, no negatives) are left out.
    """
    curves = {}
    for name, members in groups.items():
        positive = np.isin(truth, members)
        if one_sided(positive) is not None:
            continue
        score = probabilities[:, list(members)].sum(axis=1)
        precision, recall, _ = precision_recall_curve(positive, score)
        curves[name] = [
            float(precision[recall >= least - 1e-12].max(initial=0)) for least in RECALLS
        ]
    return curves
