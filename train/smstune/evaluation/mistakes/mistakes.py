"""The mistakes that teach most, with personal information masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smstune.evaluation.labelled import Judged
from smstune.inference.labels import LabelMap
from smstune.text.pii.mask import shown


def telling_errors(
    texts: Sequence[str], judged: Judged, labels: LabelMap, *, most: int = 15
) -> dict[str, list[dict[str, Any]]]:
    """Return ``confident_mistakes``, ``uncertain_hits`` and ``campaigns``, each the worst first.

    The most confident wrong answers, the right answers of the least confidence, and the campaigns
    with the most wrong answers (two or more). Texts are masked and cut.
    """
    right = judged.predicted == judged.truth
    confidence = judged.probabilities[np.arange(len(right)), judged.predicted]

    def row(at: int) -> dict[str, Any]:
        return {
            "label": labels.names[judged.truth[at]],
            "answer": labels.names[judged.predicted[at]],
            "probability": float(confidence[at]),
            "probability_of_label": float(judged.probabilities[at, judged.truth[at]]),
            "text": shown(texts[at]),
        }

    wrong, hits = error_order(judged)
    _, group = np.unique(judged.groups, return_inverse=True)
    mistakes = np.bincount(group, weights=~right)
    worst = np.argsort(-mistakes, kind="stable")
    campaigns = [
        {
            "mistakes": int(mistakes[at]),
            "messages": int((group == at).sum()),
            **row(int(np.flatnonzero((group == at) & ~right)[0])),
        }
        for at in worst[mistakes[worst] >= 2][:most].tolist()
    ]
    return {
        "confident_mistakes": [row(at) for at in wrong[:most].tolist()],
        "uncertain_hits": [row(at) for at in hits[:most].tolist()],
        "campaigns": campaigns,
    }


def error_order(judged: Judged) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of wrong answers, the most confident first, and of right ones, the least."""
    confidence = judged.probabilities[np.arange(len(judged.truth)), judged.predicted]
    order = np.argsort(confidence, kind="stable")
    right = (judged.predicted == judged.truth)[order]
    return order[~right][::-1], order[right]
