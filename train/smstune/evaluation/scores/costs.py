"""What a mistake costs, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from smstune.errors import UserError
from smstune.inference.labels import LabelMap


def cost_matrix(costs: Mapping[str, Mapping[str, float]], labels: LabelMap) -> NDArray[np.float64]:
    """Return what each answer (column) to each true label (row) costs.

    A right answer costs nothing, a mistake that ``costs`` does not name 1. Names are labels or
    parents; where both apply, what names the labels themselves counts.

    Raises:
        UserError: on a name that is neither, or a cost that is negative or no number.
    """
    matrix = 1.0 - np.eye(len(labels.names))
    cells = [
        (truth in labels.names, answer in labels.names, truth, answer, cost)
        for truth, row in costs.items()
        for answer, cost in row.items()
    ]
    for _, _, truth, answer, cost in sorted(cells, key=lambda cell: cell[0] + cell[1]):
        if not 0 <= cost < np.inf:
            raise UserError(
                "evaluation.costs: expected a cost of 0 or more, found {cost}", cost=cost
            )
        where = np.ix_(
            labels.ids_of([truth], "evaluation.costs"), labels.ids_of([answer], "evaluation.costs")
        )
        matrix[where] = cost
    np.fill_diagonal(matrix, 0)
    return matrix
