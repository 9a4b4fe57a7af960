"""Thresholds that keep a budget on validation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from smstune.arrays import Flags, Floats, Ints
from smstune.config.schema import OperatingPointConfig
from smstune.evaluation.labelled import Labelled
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import OperatingPoint, point_scores

_THRESHOLDS = 20


class Scored(NamedTuple):
    """Scores of the messages of a set for one point, which of them it guards, their campaigns."""

    scores: Floats
    guarded: Flags
    groups: Ints


def upper_bound(count: NDArray[Any] | int, total: NDArray[Any] | int, confidence: float) -> Floats:
    """Return Clopper and Pearson's upper bound of a share; 1 where ``total`` is 0."""
    count, total = np.asarray(count), np.asarray(total)
    bound = beta.ppf(confidence, count + 1, np.maximum(total - count, 1e-9))
    return np.where(count < total, bound, 1.0).astype(np.float64)


def needed(rate: float, confidence: float) -> int:
    """Return how many campaigns without one failure show a failure rate of at most ``rate``."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))


def choose_operating_point(
    name: str, section: OperatingPointConfig, scored: Scored, checkpoints_compared: int
) -> OperatingPoint:
    """Return the point whose threshold stops the most while its bound keeps the budget.

    Where none does, the threshold is ``None`` and the reason says what is missing.

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
    threshold, reason = search(_Units.of(scored), budget, confidence)
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
        review_from=_review_from(scored.scores, threshold, section.review_share),
        reason=reason,
    )
    return point.model_copy(update={"validation": measure_point(point, scored, confidence)})


def measure_point(point: OperatingPoint, scored: Scored, confidence: float) -> dict[str, Any]:
    """Return what a point does to a set: counts and shares of campaigns and of messages.

    ``false_positive_bound`` is the upper bound of ``false_positive_rate`` at ``confidence``.
    ``recall_with_review`` is the share of guarded messages stopped if people are right about all
    that they look at; ``review_guarded`` the share of guarded messages among those.
    """
    units = _Units.of(scored)
    facts: dict[str, Any] = {
        "messages": len(scored.scores),
        "guarded_messages": int(scored.guarded.sum()),
        "other_campaigns": len(units.rest),
        "guarded_campaigns": len(units.guarded),
    }
    if point.threshold is None:
        return facts
    stopped = scored.scores >= point.threshold
    low = point.threshold if point.review_from is None else point.review_from
    review = (scored.scores >= low) & ~stopped
    hit = int((units.rest >= point.threshold).sum())
    n_guarded, n_rest = int(scored.guarded.sum()), int((~scored.guarded).sum())
    return {
        **facts,
        "hit_campaigns": hit,
        "false_positive_rate": _share(hit, len(units.rest)),
        "false_positive_bound": (
            float(upper_bound(hit, len(units.rest), confidence)) if len(units.rest) else None
        ),
        "message_false_positive_rate": _share((stopped & ~scored.guarded).sum(), n_rest),
        "precision": _share((stopped & scored.guarded).sum(), stopped.sum()),
        "recall": _share((stopped & scored.guarded).sum(), n_guarded),
        "stopped_share": _share(stopped.sum(), len(stopped)),
        "review_share": _share(review.sum(), len(review)),
        "review_guarded": _share((review & scored.guarded).sum(), review.sum()),
        "recall_with_review": _share(((stopped | review) & scored.guarded).sum(), n_guarded),
    }


class _Units(NamedTuple):
    """The deciding score of each campaign: the highest of the rest, the lowest of the guarded."""

    rest: Floats
    guarded: Floats

    @classmethod
    def of(cls, scored: Scored) -> _Units:
        parts = []
        for flag, extreme in ((False, np.maximum), (True, np.minimum)):
            at = scored.guarded == flag
            _, group = np.unique(scored.groups[at], return_inverse=True)
            worst = np.full(int(group.max(initial=-1)) + 1, -np.inf if not flag else np.inf)
            extreme.at(worst, group, scored.scores[at])
            parts.append(np.sort(worst)[::-1])
        return cls(*parts)

    def thresholds(self, fewest: int) -> Floats:
        """Return up to 20 thresholds, the strictest stopping ``fewest`` campaigns or more."""
        every = np.sort(np.concatenate([self.rest, self.guarded]))[::-1]
        counts = np.unique(np.geomspace(fewest, len(every), _THRESHOLDS).astype(int))
        return np.unique(every[counts - 1])[::-1]

    def reached(self, thresholds: Floats) -> tuple[Ints, Ints]:
        """Return how many campaigns of the rest and of the guarded each threshold stops."""
        return tuple(  # type: ignore[return-value]
            len(part) - np.searchsorted(part[::-1], thresholds)
            for part in (self.rest, self.guarded)
        )


Found = tuple[float | None, str | None]


def _by_false_positives(units: _Units, rate: float, confidence: float) -> Found:
    n = len(units.rest)
    allowed = int((upper_bound(np.arange(n + 1), n, confidence) <= rate).sum()) - 1 if n else -1
    if allowed < 0:
        return None, (
            f"the validation split is too small: a false-positive rate of {rate:g} at confidence "
            f"{confidence:.4g} takes {needed(rate, confidence):,} campaigns of the other labels "
            f"without one hit, found {n:,}"
        )
    above = units.guarded[units.guarded > units.rest[allowed]]
    if not len(above):
        return None, (
            f"the budget allows {allowed:,} campaigns of the other labels to be hit, and more of "
            "them score above every guarded one: nothing could be stopped within it"
        )
    return float(above[-1]), None


def _by_precision(units: _Units, precision: float, confidence: float) -> Found:
    strict = 1 - (1 - confidence) / _THRESHOLDS
    fewest, n = needed(1 - precision, strict), len(units.rest) + len(units.guarded)
    if n < fewest:
        return None, (
            f"the validation split is too small: a precision of {precision:g} at confidence "
            f"{confidence:.4g} takes {fewest:,} stopped campaigns without a mistake, found "
            f"{n:,} in all"
        )
    thresholds = units.thresholds(fewest)
    wrong, right = units.reached(thresholds)
    kept = upper_bound(wrong, wrong + right, strict) <= 1 - precision
    if not kept.any():
        return None, (
            f"too many mistakes among the {fewest:,} highest scores and beyond: no threshold keeps "
            f"a precision of {precision:g} at confidence {confidence:.4g}"
        )
    return float(thresholds[kept][-1]), None


def _by_cost(units: _Units, ratio: float, confidence: float) -> Found:
    strict = 1 - (1 - confidence) / (2 * _THRESHOLDS)
    n_rest, n_guarded = len(units.rest), len(units.guarded)
    if not n_rest or not n_guarded:
        return None, "the validation split has campaigns of one kind only: no cost can be weighed"
    thresholds = units.thresholds(1)
    hit, stopped = units.reached(thresholds)
    cost = ratio * n_rest * upper_bound(hit, n_rest, strict)
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


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def observed_points(
    probabilities: NDArray[np.float64], labelled: Labelled, classifier: SmsClassifier
) -> list[dict[str, Any]]:
    """Return each point as the manifest has it, and under ``observed`` what ``labelled`` shows."""
    rows = []
    for point in classifier.artifact.manifest.calibration.operating_points:
        guarded = np.isin(labelled.truth, classifier.labels.ids_of(point.labels, point.name))
        scores = point_scores(probabilities, point, classifier.labels)
        scored = Scored(scores, guarded, labelled.groups)
        observed = measure_point(point, scored, point.confidence)
        rows.append({**point.model_dump(), "observed": observed})
    return rows
