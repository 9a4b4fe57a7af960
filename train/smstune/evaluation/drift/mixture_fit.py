"""Tests whether new campaigns can be a mix of the labels of validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smstune.arrays import Floats, Ints
from smstune.evaluation.drift.label_mix import Histograms, mix_by_maximisation

#: Below this p value, no mix fits.
LEVEL = 0.05
_SIMULATIONS = 500


@dataclass(frozen=True)
class MixtureFit:
    """How far the new histogram is from the nearest mix, and how often chance alone is as far."""

    chi_square: float
    p: float

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against a mix."""
        return self.p >= LEVEL


def fit_mixture(histograms: Histograms, seed: int = 1) -> MixtureFit:
    """Return how well the best mix of validation's histograms by label fits the new histogram.

    The statistic is Pearson's chi-square of the new counts, each squared difference divided by the
    variance that both samples give it. Its distribution is simulated: 500 times, the campaigns of
    each label are resampled, new campaigns are drawn from the best mix, and a mix is fitted to
    them. Tables of chi-square do not hold for cells with few campaigns, nor for histograms that are
    estimates themselves.
    """
    validation, new = histograms.validation, histograms.new
    rng = np.random.default_rng(seed)
    mix, statistic = _distance(validation[None], new[None])
    sizes = validation.sum(axis=1)
    shares = validation / np.maximum(sizes, 1)[:, None]
    expected = mix[0] @ shares
    simulated = np.stack(
        [
            rng.multinomial(size, row, size=_SIMULATIONS) if size else np.zeros_like(row, dtype=int)
            for size, row in zip(sizes.tolist(), shares, strict=True)
        ],
        axis=1,
    )
    drawn = rng.multinomial(int(new.sum()), expected / expected.sum(), size=_SIMULATIONS)
    _, by_chance = _distance(simulated, drawn)
    # The observed sample is one of those that are possible under a mix.
    p = (1 + int((by_chance >= statistic[0]).sum())) / (1 + _SIMULATIONS)
    return MixtureFit(chi_square=float(statistic[0]), p=p)


def _distance(validation: Ints, new: Ints) -> tuple[Floats, Floats]:
    """Return the best mix of each pair of samples, and the chi-square of what it leaves.

    ``validation`` has the shape (samples, components, cells), ``new`` (samples, cells).
    """
    mix = mix_by_maximisation(validation, new)
    sizes = np.maximum(validation.sum(axis=2, keepdims=True), 1)
    shares = validation / sizes
    totals = new.sum(axis=1, keepdims=True)
    expected = totals * np.einsum("sk,skc->sc", mix, shares)
    of_validation = shares * (1 - shares) / sizes
    variance = expected + totals**2 * np.einsum("sk,skc->sc", mix**2, of_validation)
    # A cell without any campaign of these labels: half a campaign, as an empty bin elsewhere.
    statistic: Floats = ((new - expected) ** 2 / np.maximum(variance, 0.5)).sum(axis=1)
    return mix, statistic
