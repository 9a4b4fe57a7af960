"""Scores of parts of a set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.evaluation.metrics import headline


def slice_scores(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], name: str, values: Sequence[str]
) -> list[dict[str, Any]]:
    """Return ``slice, n, accuracy, macro_f1`` for each value of a column, the worst first.

    A column with one value has no slices.
    """
    column = np.array(values, dtype=object)
    distinct = sorted(set(values))
    if len(distinct) < 2:
        return []
    rows = []
    for value in distinct:
        part = column == value
        scores = headline(truth[part], predicted[part])
        rows.append(
            {
                "slice": f"{name}={value}",
                "n": int(part.sum()),
                "accuracy": scores["accuracy"],
                "macro_f1": scores["macro_f1"],
            }
        )
    return sorted(rows, key=lambda row: float(row["macro_f1"]))
