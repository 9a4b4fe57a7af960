"""Fits the factors that turn scores into calibrated probabilities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from smstune.arrays import Floats, Ints

#: Bounded: if every validation answer is right, the best temperature would be 0.
_TEMPERATURES = (0.2, 5.0)
#: What a linear model's scores may be multiplied by, once the temperature has been applied.
_WEIGHTS = (0.0, 20.0)


def fit_temperature(
    logits: Floats, truth: Ints, bounds: tuple[float, float] = _TEMPERATURES
) -> float:
    """Return the temperature within ``bounds`` of the least log loss.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The loss is convex in its
    inverse, so a bounded search in one dimension finds it.
    """

    def loss(inverse: float) -> float:
        return float(-log_softmax(logits * inverse, 1)[np.arange(len(truth)), truth].mean())

    low, high = bounds
    best = minimize_scalar(
        loss, bounds=(1 / high, 1 / low), method="bounded", options={"xatol": 1e-5}
    )
    return float(1 / best.x)


def fit_weight(logits: Floats, linear: Floats, truth: Ints) -> tuple[float, float]:
    """Return the temperature in [0.2, 5] and the weight of least log loss.

    That is of ``(logits + weight * linear) / temperature``, a product of experts (Hinton, "Training
    products of experts by minimizing contrastive divergence", 2002, equation 1) whose exponents are
    fitted: a logistic regression on two numbers, so convex.
    """
    rows = np.arange(len(truth))

    def loss(factors: Floats) -> float:
        joined = factors[0] * logits + factors[1] * linear
        return float(-log_softmax(joined, 1)[rows, truth].mean())

    low, high = _TEMPERATURES
    best = minimize(loss, [1.0, 1.0], method="L-BFGS-B", bounds=[(1 / high, 1 / low), _WEIGHTS])
    inverse, factor = best.x.tolist()
    return 1 / inverse, factor / inverse
