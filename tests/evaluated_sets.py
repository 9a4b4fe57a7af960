"""Evaluated sets of nothing but numbers, for tests of scores."""

from __future__ import annotations

import numpy as np

from smstune.evaluation.evaluated import EvaluatedSet


def evaluated_set(probabilities, answers, truth, groups, *, texts=None, columns=None):
    """Return a set whose messages matter to no score, unless ``texts`` are given."""
    return EvaluatedSet(
        name="test",
        texts=texts if texts is not None else [f"message {row}" for row in range(len(truth))],
        truth=np.asarray(truth),
        groups=np.asarray(groups),
        columns=columns or {},
        probabilities=np.asarray(probabilities),
        answers=np.asarray(answers),
    )


def two_labels(scores, guarded, groups):
    """Return a set in which the second of two labels is guarded, with these scores of it."""
    scores, truth = np.asarray(scores), np.asarray(guarded).astype(int)
    return evaluated_set(np.column_stack([1 - scores, scores]), truth, truth, groups)
