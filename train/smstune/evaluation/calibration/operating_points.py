"""Thresholds that keep a budget on validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from smstune.arrays import Flags, Floats, Ints
from smstune.config.schema import OperatingPointConfig
from smstune.evaluation.evaluated import EvaluatedSet
from smstune.inference.decision import OperatingPoint, PointCounts, PointScores
from smstune.inference.labels import LabelMap

_THRESHOLDS = 20


class ObservedPoint(OperatingPoint):
    """A point and what it does to another set than the one that chose it."""

    observed: PointScores | PointCounts


def upper_bound(count: NDArray[Any] | int, total: NDArray[Any] | int, confidence: float) -> Floats:
    """Return Clopper and Pearson's upper bound of a share; 1 where ``total`` is 0."""
    count, total = np.asarray(count), np.asarray(total)
    bound = beta.ppf(confidence, count + 1, np.maximum(total - count, 1e-9))
    return np.where(count < total, bound, 1.0).astype(np.float64)


def needed(rate: float, confidence: float) -> int:
    """Return how many campaigns without one failure show a failure rate of at most ``rate``."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))


def choose_operating_point(
    name: str,
    section: OperatingPointConfig,
    evaluated: EvaluatedSet,
    label_ids: Sequence[int],
    checkpoints_compared: int,
) -> OperatingPoint:
    """Return the point whose threshold stops the most while its bound keeps the budget.

    It guards the labels of ``label_ids``. Where no threshold keeps the budget, the threshold is
    ``None`` and the reason says what is missing.

    The same set chose the best of ``checkpoints_compared``. The best looks better there than it is,
    so the bound is as sure as if one had been fitted for each of them (Bonferroni's inequality):
    whichever was chosen, all their budgets hold together with the confidence asked for.
    """
    kind, budget = next(iter(section.budget.items()))
    confidence = 1 - (1 - section.confidence) / checkpoints_compared
    search = {
        "max_false_positive_rate": _by_false_positives,
        "min_precision": _by_precision,
        "cost_ratio": _by_cost,
    }[kind]
    scores = evaluated.score_of(label_ids)
    campaigns = _CampaignScores.of(evaluated, label_ids)
    threshold, reason = search(campaigns, budget, confidence)
    if reason is not None and checkpoints_compared > 1:
        reason += (
            f"; {section.confidence:g} was asked for, and the choice among {checkpoints_compared} "
            f"checkpoints on the same messages makes it {confidence:.4g}"
        )
    point = OperatingPoint(
        name=name,
        labels=section.labels,
        budget=section.budget,
        confidence=section.confidence,
        threshold=threshold,
        review_from=_review_from(scores, threshold, section.review_share),
        reason=reason,
    )
    validation = measure_point(point, evaluated, label_ids, confidence)
    return point.model_copy(update={"validation": validation})


def measure_point(
    point: OperatingPoint, evaluated: EvaluatedSet, label_ids: Sequence[int], confidence: float
) -> PointScores | PointCounts:
    """Return what a point that guards ``label_ids`` does to a set.

    Scores where it has a threshold, their bounds at ``confidence``; counts alone where not.
    """
    scores, guarded = evaluated.score_of(label_ids), evaluated.is_of(label_ids)
    campaigns = _CampaignScores.of(evaluated, label_ids)
    counts = PointCounts(
        messages=len(scores),
        guarded_messages=int(guarded.sum()),
        other_campaigns=len(campaigns.other),
        guarded_campaigns=len(campaigns.guarded),
    )
    if point.threshold is None:
        return counts
    stopped = scores >= point.threshold
    low = point.threshold if point.review_from is None else point.review_from
    review = (scores >= low) & ~stopped
    n_hit, n_other = int((campaigns.other >= point.threshold).sum()), len(campaigns.other)
    n_guarded = counts.guarded_messages
    return PointScores(
        messages=counts.messages,
        guarded_messages=n_guarded,
        other_campaigns=n_other,
        guarded_campaigns=counts.guarded_campaigns,
        hit_campaigns=n_hit,
        false_positive_rate=_share(n_hit, n_other),
        false_positive_bound=float(upper_bound(n_hit, n_other, confidence)) if n_other else None,
        message_false_positive_rate=_share((stopped & ~guarded).sum(), (~guarded).sum()),
        precision=_share((stopped & guarded).sum(), stopped.sum()),
        recall=_share((stopped & guarded).sum(), n_guarded),
        stopped_share=_share(stopped.sum(), len(stopped)),
        review_share=_share(review.sum(), len(review)),
        review_guarded=_share((review & guarded).sum(), review.sum()),
        recall_with_review=_share(((stopped | review) & guarded).sum(), n_guarded),
    )


@dataclass(frozen=True)
class _CampaignScores:
    """The score that decides for each campaign, from the highest down.

    That is the highest of the messages of an ``other`` one, the lowest of those of a guarded one.
    """

    other: Floats
    guarded: Floats

    @classmethod
    def of(cls, evaluated: EvaluatedSet, label_ids: Sequence[int]) -> _CampaignScores:
        scores, guarded = evaluated.score_of(label_ids), evaluated.is_of(label_ids)

        def deciding(messages: Flags, extreme: np.ufunc, start: float) -> Floats:
            _, group = np.unique(evaluated.groups[messages], return_inverse=True)
            decided = np.full(int(group.max(initial=-1)) + 1, start)
            extreme.at(decided, group, scores[messages])
            return np.sort(decided)[::-1]

        return cls(
            other=deciding(~guarded, np.maximum, -np.inf),
            guarded=deciding(guarded, np.minimum, np.inf),
        )

    def thresholds(self, fewest: int) -> Floats:
        """Return up to 20 thresholds, the strictest stopping ``fewest`` campaigns or more."""
        scores = np.sort(np.concatenate([self.other, self.guarded]))[::-1]
        counts = np.unique(np.geomspace(fewest, len(scores), _THRESHOLDS).astype(int))
        return np.unique(scores[counts - 1])[::-1]

    def reached(self, thresholds: Floats) -> tuple[Ints, Ints]:
        """Return how many other and how many guarded campaigns each threshold stops."""
        n_other = len(self.other) - np.searchsorted(self.other[::-1], thresholds)
        n_guarded = len(self.guarded) - np.searchsorted(self.guarded[::-1], thresholds)
        return n_other, n_guarded


#: A threshold, or the reason why there is none.
ThresholdOrReason = tuple[float | None, str | None]


def _by_false_positives(
    campaigns: _CampaignScores, rate: float, confidence: float
) -> ThresholdOrReason:
    n = len(campaigns.other)
    allowed = int((upper_bound(np.arange(n + 1), n, confidence) <= rate).sum()) - 1 if n else -1
    if allowed < 0:
        return None, (
            f"the validation split is too small: a false-positive rate of {rate:g} at confidence "
            f"{confidence:.4g} takes {needed(rate, confidence):,} campaigns of the other labels "
            f"without one hit, found {n:,}"
        )
    above = campaigns.guarded[campaigns.guarded > campaigns.other[allowed]]
    if not len(above):
        return None, (
            f"the budget allows {allowed:,} campaigns of the other labels to be hit, and more of "
            "them score above every guarded one: nothing could be stopped within it"
        )
    return float(above[-1]), None


def _by_precision(
    campaigns: _CampaignScores, precision: float, confidence: float
) -> ThresholdOrReason:
    strict = 1 - (1 - confidence) / _THRESHOLDS
    fewest, n = needed(1 - precision, strict), len(campaigns.other) + len(campaigns.guarded)
    if n < fewest:
        return None, (
            f"the validation split is too small: a precision of {precision:g} at confidence "
            f"{confidence:.4g} takes {fewest:,} stopped campaigns without a mistake, found "
            f"{n:,} in all"
        )
    thresholds = campaigns.thresholds(fewest)
    wrong, right = campaigns.reached(thresholds)
    is_kept = upper_bound(wrong, wrong + right, strict) <= 1 - precision
    if not is_kept.any():
        return None, (
            f"too many mistakes among the {fewest:,} highest scores and beyond: no threshold keeps "
            f"a precision of {precision:g} at confidence {confidence:.4g}"
        )
    return float(thresholds[is_kept][-1]), None


def _by_cost(campaigns: _CampaignScores, ratio: float, confidence: float) -> ThresholdOrReason:
    strict = 1 - (1 - confidence) / (2 * _THRESHOLDS)
    n_other, n_guarded = len(campaigns.other), len(campaigns.guarded)
    if not n_other or not n_guarded:
        return None, "the validation split has campaigns of one kind only: no cost can be weighed"
    thresholds = campaigns.thresholds(1)
    hit, stopped = campaigns.reached(thresholds)
    cost = ratio * n_other * upper_bound(hit, n_other, strict)
    cost += n_guarded * upper_bound(n_guarded - stopped, n_guarded, strict)
    best = int(cost.argmin())
    if cost[best] >= n_guarded:
        return None, (
            f"at confidence {confidence:.4g} every threshold may cost more than stopping nothing: "
            "a larger validation split or a smaller cost_ratio is needed"
        )
    return float(thresholds[best]), None


def _review_from(scores: Floats, threshold: float | None, share: float) -> float | None:
    """Return the lowest score below the threshold with at most ``share`` of the set between."""
    if threshold is None or not share:
        return None
    below = np.sort(scores[scores < threshold])[::-1]
    reached = np.searchsorted(-below, -below, side="right")
    fitting = below[reached <= share * len(scores)]
    return float(fitting[-1]) if len(fitting) else None


def _share(count: float, total: float) -> float | None:
    return float(count / total) if total else None


def observed_points(
    evaluated: EvaluatedSet, points: Sequence[OperatingPoint], labels: LabelMap
) -> list[ObservedPoint]:
    """Return each point together with what it does to a set that took no part in choosing it."""
    observed = []
    for point in points:
        label_ids = labels.ids_of(point.labels, point.name)
        facts = measure_point(point, evaluated, label_ids, point.confidence)
        observed.append(ObservedPoint(**dict(point), observed=facts))
    return observed
