"""Tests of whether a difference is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from smstune.arrays import Floats, Ints


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values: "A simple sequentially rejective procedure", 1979."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.maximum.accumulate(np.asarray(p_values)[order] * factors).clip(max=1)
    in_order_given = np.empty(len(order))
    in_order_given[order] = adjusted
    corrected: list[float] = in_order_given.tolist()
    return corrected


def mcnemar(first: Floats, second: Floats, groups: Ints) -> tuple[int, int, float]:
    """Return (campaigns where the first is ahead, where the second is, exact McNemar p value).

    ``first`` and ``second`` are two runs' scores of each message, from 0 to 1. With one message a
    campaign this is McNemar (1947) as a binomial test.
    """
    _, group = np.unique(groups, return_inverse=True)
    ahead = np.bincount(group, weights=first) - np.bincount(group, weights=second)
    # Sums of shares such as a third: what differs by less is equal.
    wins, losses = int((ahead > 1e-9).sum()), int((ahead < -1e-9).sum())
    if not wins + losses:
        return 0, 0, 1.0
    return wins, losses, float(binomtest(wins, wins + losses).pvalue)
