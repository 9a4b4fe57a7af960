"""An exact upper bound of a share, without scipy."""

from __future__ import annotations

import math

import numpy as np

#: How sure the bound is.
CONFIDENCE = 0.95
#: Halvings of the interval from 0 to 1: as many as a float has bits.
_HALVINGS = 53


def upper_bound(count: int, total: int) -> float:
    """Return the upper bound of Clopper and Pearson (1934) of a share, at ``CONFIDENCE``.

    It is the share under which ``count`` or fewer of ``total`` have a probability of 5 %; found by
    bisection. 1 where all of ``total`` count.
    """
    if count >= total:
        return 1.0
    numbers = np.arange(count + 1)
    # The logarithms of the binomial coefficients, from 0 of ``total`` on.
    steps = np.log((total - numbers[:-1]) / (numbers[:-1] + 1))
    log_choices = np.concatenate([[0.0], np.cumsum(steps)])
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        log_terms = numbers * math.log(share) + (total - numbers) * math.log1p(-share)
        if float(np.exp(log_choices + log_terms).sum()) > 1 - CONFIDENCE:
            low = share
        else:
            high = share
    return high
