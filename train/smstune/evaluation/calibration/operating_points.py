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
from smstune.language import Message

_THRESHOLDS = 20


class ObservedPoint(OperatingPoint):
    """An operating point with its effect on a set that it was not fitted on."""

    observed: PointScores | PointCounts


def upper_bound(count: NDArray[Any] | int, total: NDArray[Any] | int, confidence: float) -> Floats:
    """Return Clopper and Pearson's upper bound of a share; 1 where ``total`` is 0."""
    count, total = np.asarray(count), np.asarray(total)
    bound = beta.ppf(confidence, count + 1, np.maximum(total - count, 1e-9))
    return np.where(count < total, bound, 1.0).astype(np.float64)


def needed(rate: float, confidence: float) -> int:
    """Return how many campaigns, all without failure, show a failure rate of at most ``rate``."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))


def corrected_confidence(confidence: float, checkpoints_compared: int) -> float:
    """Return the confidence to test at after validation chose among checkpoints (Bonferroni)."""
    return 1 - (1 - confidence) / checkpoints_compared


def with_correction(reason: Message, confidence: float, checkpoints_compared: int) -> Message:
    """Return a reason and, where the confidence was corrected, that it was."""
    if checkpoints_compared == 1:
        return reason
    return Message(
        "{reason}; the confidence {confidence:g} becomes {corrected:.4g}, because the same "
        "messages selected the best of {n_checkpoints} checkpoints",
        reason=reason,
        confidence=confidence,
        corrected=corrected_confidence(confidence, checkpoints_compared),
        n_checkpoints=checkpoints_compared,
    )


def choose_operating_point(
    name: str,
    section: OperatingPointConfig,
    evaluated: EvaluatedSet,
    label_ids: Sequence[int],
    checkpoints_compared: int,
) -> OperatingPoint:
    """Return the operating point that blocks the most guarded campaigns within its budget.

    It guards the labels of ``label_ids``. Where no threshold keeps the budget, the threshold is
    ``None`` and the reason says what is missing.

    ``evaluated`` is also the set on which the best of ``checkpoints_compared`` checkpoints was
    selected, so that checkpoint looks better here than it is. The bounds therefore use Bonferroni's
    correction: with the confidence of the configuration, the budget holds whichever checkpoint was
    selected.
    """
    kind, budget = next(iter(section.budget.items()))
    confidence = corrected_confidence(section.confidence, checkpoints_compared)
    search = {
        "max_false_positive_rate": _by_false_positives,
        "min_precision": _by_precision,
        "cost_ratio": _by_cost,
    }[kind]
    scores = evaluated.score_of(label_ids)
    campaigns = _CampaignScores.of(evaluated, label_ids)
    threshold = search(campaigns, budget, confidence)
    point = OperatingPoint(
        name=name,
        labels=section.labels,
        budget=section.budget,
        confidence=section.confidence,
        threshold=threshold,
        review_from=review_band(scores, threshold, section.review_share),
    )
    validation = measure_point(point, evaluated, label_ids, confidence)
    point = point.model_copy(update={"validation": validation})
    if threshold is not None:
        return point
    return point.model_copy(update={"reason": reason_for_none(point, checkpoints_compared)})


def reason_for_none(point: OperatingPoint, checkpoints_compared: int) -> str:
    """Return why a fitted point has no threshold, from what it was measured on.

    ``point.reason`` is the same text once it is read from a file, where it cannot be translated.
    """
    if point.validation is None:
        return point.reason or ""
    kind, budget = next(iter(point.budget.items()))
    reason = {
        "max_false_positive_rate": _too_many_false_positives,
        "min_precision": _too_imprecise,
        "cost_ratio": _too_costly,
    }[kind](point.validation, budget, corrected_confidence(point.confidence, checkpoints_compared))
    return with_correction(reason, point.confidence, checkpoints_compared)


def measure_point(
    point: OperatingPoint, evaluated: EvaluatedSet, label_ids: Sequence[int], confidence: float
) -> PointScores | PointCounts:
    """Return the effect on a set of a point that guards ``label_ids``.

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
    blocked = scores >= point.threshold
    low = point.threshold if point.review_from is None else point.review_from
    review = (scores >= low) & ~blocked
    n_wrong, n_other = int((campaigns.other >= point.threshold).sum()), len(campaigns.other)
    n_guarded = counts.guarded_messages
    return PointScores(
        messages=counts.messages,
        guarded_messages=n_guarded,
        other_campaigns=n_other,
        guarded_campaigns=counts.guarded_campaigns,
        hit_campaigns=n_wrong,
        false_positive_rate=_share(n_wrong, n_other),
        false_positive_bound=float(upper_bound(n_wrong, n_other, confidence)) if n_other else None,
        message_false_positive_rate=_share((blocked & ~guarded).sum(), (~guarded).sum()),
        precision=_share((blocked & guarded).sum(), blocked.sum()),
        recall=_share((blocked & guarded).sum(), n_guarded),
        stopped_share=_share(blocked.sum(), len(blocked)),
        review_share=_share(review.sum(), len(review)),
        review_guarded=_share((review & guarded).sum(), review.sum()),
        recall_with_review=_share(((blocked | review) & guarded).sum(), n_guarded),
    )


@dataclass(frozen=True)
class _CampaignScores:
    """One score for each campaign, sorted from high to low.

    A guarded campaign has the lowest score of its messages, any other campaign the highest.
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

    def thresholds(self, min_blocked: int) -> Floats:
        """Return up to 20 thresholds, the strictest blocking at least ``min_blocked`` campaigns."""
        scores = np.sort(np.concatenate([self.other, self.guarded]))[::-1]
        counts = np.unique(np.geomspace(min_blocked, len(scores), _THRESHOLDS).astype(int))
        return np.unique(scores[counts - 1])[::-1]

    def blocked_by(self, thresholds: Floats) -> tuple[Ints, Ints]:
        """Return how many harmless and how many guarded campaigns each threshold blocks."""
        n_other = len(self.other) - np.searchsorted(self.other[::-1], thresholds)
        n_guarded = len(self.guarded) - np.searchsorted(self.guarded[::-1], thresholds)
        return n_other, n_guarded


def _by_false_positives(campaigns: _CampaignScores, rate: float, confidence: float) -> float | None:
    allowed = _allowed_blocks(len(campaigns.other), rate, confidence)
    if allowed < 0:
        return None
    above = campaigns.guarded[campaigns.guarded > campaigns.other[allowed]]
    return float(above[-1]) if len(above) else None


def _allowed_blocks(n_campaigns: int, rate: float, confidence: float) -> int:
    """Return how many of the harmless campaigns may be blocked; -1 if there are too few to tell."""
    if not n_campaigns:
        return -1
    bounds = upper_bound(np.arange(n_campaigns + 1), n_campaigns, confidence)
    return int((bounds <= rate).sum()) - 1


def _too_many_false_positives(counts: PointCounts, rate: float, confidence: float) -> Message:
    n_campaigns = counts.other_campaigns
    allowed = _allowed_blocks(n_campaigns, rate, confidence)
    if allowed < 0:
        return Message(
            "the validation split is too small: a false-positive rate of {rate:g} at confidence "
            "{confidence:.4g} takes {n_needed:,} harmless campaigns without an error, found "
            "{n_campaigns:,}",
            rate=rate,
            confidence=confidence,
            n_needed=needed(rate, confidence),
            n_campaigns=n_campaigns,
        )
    return Message(
        "the budget allows {allowed:,} harmless campaigns to be blocked, and more of them score "
        "above every guarded one: nothing could be blocked within it",
        allowed=allowed,
    )


def _by_precision(campaigns: _CampaignScores, precision: float, confidence: float) -> float | None:
    min_blocked, strict = _min_blocked(precision, confidence)
    if len(campaigns.other) + len(campaigns.guarded) < min_blocked:
        return None
    thresholds = campaigns.thresholds(min_blocked)
    wrong, right = campaigns.blocked_by(thresholds)
    is_kept = upper_bound(wrong, wrong + right, strict) <= 1 - precision
    return float(thresholds[is_kept][-1]) if is_kept.any() else None


def _min_blocked(precision: float, confidence: float) -> tuple[int, float]:
    """Return how many blocked campaigns can show a precision, and the confidence of each test."""
    strict = 1 - (1 - confidence) / _THRESHOLDS
    return needed(1 - precision, strict), strict


def _too_imprecise(counts: PointCounts, precision: float, confidence: float) -> Message:
    min_blocked, _ = _min_blocked(precision, confidence)
    n_campaigns = counts.other_campaigns + counts.guarded_campaigns
    if n_campaigns < min_blocked:
        return Message(
            "the validation split is too small: a precision of {precision:g} at confidence "
            "{confidence:.4g} takes {min_blocked:,} blocked campaigns without an error, found "
            "{n_campaigns:,} in all",
            precision=precision,
            confidence=confidence,
            min_blocked=min_blocked,
            n_campaigns=n_campaigns,
        )
    return Message(
        "too many errors among the {min_blocked:,} highest scores and below: no threshold keeps a "
        "precision of {precision:g} at confidence {confidence:.4g}",
        min_blocked=min_blocked,
        precision=precision,
        confidence=confidence,
    )


def _by_cost(campaigns: _CampaignScores, ratio: float, confidence: float) -> float | None:
    strict = 1 - (1 - confidence) / (2 * _THRESHOLDS)
    n_other, n_guarded = len(campaigns.other), len(campaigns.guarded)
    if not n_other or not n_guarded:
        return None
    thresholds = campaigns.thresholds(1)
    wrongly_blocked, caught = campaigns.blocked_by(thresholds)
    cost = ratio * n_other * upper_bound(wrongly_blocked, n_other, strict)
    cost += n_guarded * upper_bound(n_guarded - caught, n_guarded, strict)
    best = int(cost.argmin())
    return float(thresholds[best]) if cost[best] < n_guarded else None


def _too_costly(counts: PointCounts, _ratio: float, confidence: float) -> Message:
    if not counts.other_campaigns or not counts.guarded_campaigns:
        return Message(
            "the validation split has no harmless or no guarded campaigns: a cost needs both"
        )
    return Message(
        "at confidence {confidence:.4g} every threshold may cost more than blocking nothing: a "
        "larger validation split or a smaller cost_ratio is needed",
        confidence=confidence,
    )


def review_band(scores: Floats, threshold: float | None, share: float) -> float | None:
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
    """Return each point with its effect on a set that it was not fitted on."""
    observed = []
    for point in points:
        label_ids = labels.ids_of(point.labels, point.name)
        facts = measure_point(point, evaluated, label_ids, point.confidence)
        observed.append(ObservedPoint(**dict(point), observed=facts))
    return observed
