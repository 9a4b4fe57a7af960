"""How sure a score is: bootstrap over campaigns, not rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from train.evaluation.metrics import f1_scores

_DRAWS_AT_ONCE = 50


def bootstrap_intervals(
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    groups: NDArray[np.int64],
    size: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Return 95 % intervals ``{"accuracy": [low, high], "macro_f1": [low, high]}``.

    Percentile bootstrap that draws whole groups with replacement (Field and Welsh, 2007): copies
    of one campaign are right or wrong together, so drawing rows would promise too much. A label
    that a draw leaves out is left out of that draw's macro-F1.
    """
    accuracy, macro_f1 = [], []
    for matrices in _drawn_matrices(truth, predicted, groups, size, draws, seed):
        support = matrices.sum(axis=2)
        accuracy.append(np.trace(matrices, axis1=1, axis2=2) / support.sum(axis=1))
        f1 = np.where(support > 0, f1_scores(matrices), np.nan)
        macro_f1.append(np.nanmean(f1, axis=1))
    return {
        "accuracy": np.quantile(np.concatenate(accuracy), [0.025, 0.975]).tolist(),
        "macro_f1": np.quantile(np.concatenate(macro_f1), [0.025, 0.975]).tolist(),
    }


def _drawn_matrices(
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    groups: NDArray[np.int64],
    size: int,
    draws: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Yield confusion matrices of drawn groups, shape ``(draws at once, size, size)``."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    cells = csr_array((np.ones(len(truth)), (group, truth * size + predicted)), (count, size**2))
    rng = np.random.default_rng(seed)
    for start in range(0, draws, _DRAWS_AT_ONCE):
        at_once = min(_DRAWS_AT_ONCE, draws - start)
        times_drawn = rng.multinomial(count, np.full(count, 1 / count), at_once)
        yield np.asarray(times_drawn @ cells).reshape(at_once, size, size)
