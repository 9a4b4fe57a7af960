"""The shares of the labels among new campaigns without labels, from a run's answers to them.

Both estimators assume *label shift*: the shares of the labels have changed, but the messages of a
label still look the same to the run. ``mixture_fit`` tests that assumption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from smstune.arrays import Floats, Ints
from smstune.evaluation.evaluated import EvaluatedSet
from smstune.evaluation.scores.results import Bounds

#: Labels with fewer validation campaigns are estimated together with others.
_MIN_CAMPAIGNS = 80
#: Levels of confidence of an answer, and the fewest validation campaigns of a level.
_LEVELS, _MIN_IN_LEVEL = 3, 10
_STEPS = 100
_RESAMPLES = 400
_TINY = 1e-12
#: Estimated shares of 0 and 1 have no log odds.
_SMALLEST = 1e-3


@dataclass(frozen=True)
class CampaignAnswers:
    """A set of messages by campaign: mean probabilities, and the label id of its first message.

    ``probabilities`` have the shape (campaigns, labels); ``rows`` is the campaign of each message.
    """

    probabilities: Floats
    truth: Ints
    rows: Ints

    @classmethod
    def of(cls, evaluated: EvaluatedSet) -> CampaignAnswers:
        """Return the campaigns of an evaluated set, in the order of their numbers."""
        _, first, rows = np.unique(evaluated.groups, return_index=True, return_inverse=True)
        summed = np.zeros((len(first), evaluated.probabilities.shape[1]))
        np.add.at(summed, rows, evaluated.probabilities)
        means = summed / np.bincount(rows)[:, None]
        return cls(probabilities=means, truth=evaluated.truth[first], rows=rows)


@dataclass(frozen=True)
class Histograms:
    """Campaigns counted by what the run answers, on validation also by label.

    A component is a label, or several labels that have too few validation campaigns to be told
    apart; ``component`` is that of each label id. A cell is an answered component at a level of
    confidence; ``answer`` is the component of each cell. ``validation`` has the shape (components,
    cells), ``new`` the shape (cells,).
    """

    component: Ints
    answer: Ints
    validation: Ints
    new: Ints


@dataclass(frozen=True)
class LabelMix:
    """The estimated shares of the components among the new campaigns.

    ``shares`` are by expectation maximisation, ``by_answers`` by black-box shift estimation. The
    ``draws``, shape (resamples, components), are the shares for resampled campaigns of both sides;
    ``draws_by_answers`` likewise.
    """

    component: Ints
    shares: Floats
    by_answers: Floats
    draws: Floats
    draws_by_answers: Floats

    def share_of(self, label_ids: Sequence[int]) -> float:
        """Return the estimated share of some labels, which must be whole components."""
        return float(self.shares[self._components_of(label_ids)].sum())

    def bound_of(self, label_ids: Sequence[int], level: float) -> float:
        """Return what the share of some labels is below with the probability ``level``."""
        components = self._components_of(label_ids)
        draws = self.draws[:, components].sum(axis=1)
        return share_bound(self.share_of(label_ids), draws, level)

    def _components_of(self, label_ids: Sequence[int]) -> Ints:
        return np.unique(self.component[list(label_ids)])


def share_bound(share: float, draws: Floats, level: float) -> float:
    """Return the bound of a share at ``level``, from its values for resampled campaigns.

    The share is taken as normal on the scale of log odds, with the deviation of the ``draws``. In
    simulations this covered rare labels better than the quantiles of the draws
    (docs/experiments.md).
    """
    deviation = float(_log_odds(draws).std(ddof=1))
    bound = _log_odds(np.array(share)) + norm.ppf(level) * deviation
    return float(1 / (1 + np.exp(-bound)))


def share_interval(share: float, draws: Floats) -> Bounds:
    """Return the 95 % interval of a share."""
    return share_bound(share, draws, 0.025), share_bound(share, draws, 0.975)


def _log_odds(shares: Floats) -> Floats:
    inside = shares.clip(_SMALLEST, 1 - _SMALLEST)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def count_cells(
    validation: CampaignAnswers, new: CampaignAnswers, guarded: Sequence[Sequence[int]]
) -> Histograms:
    """Return the histograms of two sets of campaigns.

    The rarest labels are merged until each component has 80 validation campaigns, but only with
    labels that the same operating points guard; ``guarded`` has the label ids of each point. The
    levels of confidence are terciles of the validation campaigns with that answer, fewer where
    these are few.
    """
    component = _components(validation, guarded)
    n_components = int(component.max()) + 1
    merged = [_merged(side.probabilities, component) for side in (validation, new)]
    answers = [probabilities.argmax(axis=1) for probabilities in merged]
    confidences = [probabilities.max(axis=1) for probabilities in merged]
    cells = [np.zeros(len(side), dtype=np.int64) for side in answers]
    answer_of_cell: list[int] = []
    for answer in range(n_components):
        edges = _levels(confidences[0][answers[0] == answer])
        for cell, answered, confidence in zip(cells, answers, confidences, strict=True):
            rows = answered == answer
            level = np.searchsorted(edges, confidence[rows], side="right")
            cell[rows] = len(answer_of_cell) + level
        answer_of_cell += [answer] * (len(edges) + 1)
    n_cells = len(answer_of_cell)
    joint = component[validation.truth] * n_cells + cells[0]
    return Histograms(
        component=component,
        answer=np.array(answer_of_cell),
        validation=np.bincount(joint, minlength=n_components * n_cells).reshape(-1, n_cells),
        new=np.bincount(cells[1], minlength=n_cells),
    )


def estimate_mix(histograms: Histograms, seed: int = 0) -> LabelMix:
    """Return the shares of the components among the new campaigns, with 400 resamples.

    Campaigns of both sides are resampled, since either sample is only one of many. The counts of
    resampled campaigns are multinomial, so no campaign is looked at again. Each component gets one
    more campaign, spread over the cells as all campaigns are: validation may lack an error that
    few campaigns of a component show, and then the intervals were too narrow
    (docs/experiments.md).
    """
    validation, new = histograms.validation, histograms.new
    rng = np.random.default_rng(seed)
    n_validation, n_new = int(validation.sum()), int(new.sum())
    resampled = rng.multinomial(n_validation, validation.ravel() / n_validation, size=_RESAMPLES)
    both = np.concatenate([validation[None], resampled.reshape(-1, *validation.shape)])
    both_new = np.concatenate([new[None], rng.multinomial(n_new, new / n_new, size=_RESAMPLES)])
    has_campaigns = both.sum(axis=2, keepdims=True) > 0
    smoothed = both + has_campaigns * both.sum(axis=1, keepdims=True) / n_validation
    shares = mix_by_maximisation(smoothed, both_new)
    by_answers = mix_by_answers(smoothed, both_new, histograms.answer)
    return LabelMix(
        component=histograms.component,
        shares=shares[0],
        by_answers=by_answers[0],
        draws=shares[1:],
        draws_by_answers=by_answers[1:],
    )


def mix_by_maximisation(validation: Ints | Floats, new: Ints) -> Floats:
    """Return the mix under which the new counts are likeliest, shape (samples, components).

    ``validation`` has the shape (samples, components, cells), ``new`` (samples, cells). Expectation
    maximisation of Saerens, Latinne and Decaestecker ("Adjusting the outputs of a classifier to new
    a priori probabilities", 2002). The probability of a label at an answer is its share of the
    validation campaigns with that answer, not the run's own, so that a run whose probabilities are
    off estimates no other mix.
    """
    by_component = _shares(validation)
    totals = new.sum(axis=1, keepdims=True)
    present = validation.sum(axis=2) > 0
    mix: Floats = present / present.sum(axis=1, keepdims=True)
    for _ in range(_STEPS):
        expected = np.einsum("sk,skc->sc", mix, by_component)
        ratio = new / np.maximum(expected, _TINY)
        mix = mix * np.einsum("skc,sc->sk", by_component, ratio) / totals
        # Less than 1 where a cell has new campaigns and no component that explains them.
        mix /= np.maximum(mix.sum(axis=1, keepdims=True), _TINY)
    return mix


def mix_by_answers(validation: Ints | Floats, new: Ints, answer: Ints) -> Floats:
    """Return the mix that explains the shares of the answers, shape (samples, components).

    Black-box shift estimation (Lipton, Wang and Smola, "Detecting and correcting for label shift
    with black box predictors", 2018): the confusion matrix of validation, inverted. Shares below 0
    become 0.
    """
    n_components = validation.shape[1]
    is_answer = (answer[:, None] == np.arange(n_components)).astype(np.float64)
    confusion = np.swapaxes(_shares(validation) @ is_answer, 1, 2)
    answered = new @ is_answer / new.sum(axis=1, keepdims=True)
    mix = (np.linalg.pinv(confusion) @ answered[:, :, None])[:, :, 0].clip(0)
    shares: Floats = mix / np.maximum(mix.sum(axis=1, keepdims=True), _TINY)
    return shares


def _shares(validation: Ints | Floats) -> Floats:
    """Return the share of each cell among the campaigns of a component."""
    totals = np.maximum(validation.sum(axis=2, keepdims=True), 1)
    shares: Floats = validation / totals
    return shares


def _components(validation: CampaignAnswers, guarded: Sequence[Sequence[int]]) -> Ints:
    """Return the component of each label id."""
    n_labels = validation.probabilities.shape[1]
    counts = np.bincount(validation.truth, minlength=n_labels)
    points = [tuple(label_id in labels for labels in guarded) for label_id in range(n_labels)]
    component = np.empty(n_labels, dtype=np.int64)
    next_component = 0
    for kind in sorted(set(points)):
        label_ids = [label_id for label_id in range(n_labels) if points[label_id] == kind]
        rarest_first = sorted(label_ids, key=lambda label_id: counts[label_id])
        rare: list[int] = []
        while rarest_first and (not rare or counts[rare].sum() < _MIN_CAMPAIGNS):
            rare.append(rarest_first.pop(0))
        for labels in (rare, *([label_id] for label_id in rarest_first)):
            component[labels] = next_component
            next_component += 1
    return component


def _merged(probabilities: Floats, component: Ints) -> Floats:
    """Return the summed probability of each component."""
    is_of = component[:, None] == np.arange(int(component.max()) + 1)
    merged: Floats = probabilities @ is_of
    return merged


def _levels(confidences: Floats) -> Floats:
    """Return the confidences at which the next level starts."""
    n_levels = max(1, min(_LEVELS, len(confidences) // _MIN_IN_LEVEL))
    if n_levels == 1:
        return np.zeros(0)
    return np.unique(np.quantile(confidences, np.arange(1, n_levels) / n_levels))
