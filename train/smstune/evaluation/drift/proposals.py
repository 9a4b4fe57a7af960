"""Thresholds that an operating point could have under a new mix of labels, to be certified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smstune.arrays import Flags, Floats, Ints
from smstune.evaluation.drift.certification import Budget
from smstune.evaluation.drift.label_mix import CampaignAnswers, LabelMix
from smstune.evaluation.evaluated import EvaluatedSet

#: The shares of the budget that the proposed thresholds are estimated to use.
_USED = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
#: Stricter thresholds, by the share that they block of what the strictest of the others blocks.
_STRICTER = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Proposal:
    """Thresholds for one operating point, strictest first, all estimated to keep its budget.

    ``highest`` is the highest score of each new campaign, ``blocked`` how many reach each
    threshold. ``false_positive_rate``, ``precision`` and ``recall`` are estimates for the lowest
    threshold, over campaigns and under the new mix.
    """

    budget: Budget
    thresholds: tuple[float, ...]
    blocked: tuple[int, ...]
    highest: Floats
    false_positive_rate: float
    precision: float
    recall: float


@dataclass(frozen=True)
class WeighedCampaigns:
    """The validation campaigns: highest score, whether guarded, and share under the new mix."""

    highest: Floats
    guarded: Flags
    weight: Floats

    @classmethod
    def of(
        cls, validation: EvaluatedSet, label_ids: Sequence[int], mix: LabelMix
    ) -> WeighedCampaigns:
        """Return the campaigns of the validation split, for a point that guards ``label_ids``."""
        campaigns = CampaignAnswers.of(validation)
        component = mix.component[campaigns.truth]
        weight = mix.shares[component] / np.bincount(component)[component]
        return cls(
            highest=highest_scores(validation, label_ids),
            guarded=np.isin(campaigns.truth, list(label_ids)),
            weight=weight / weight.sum(),
        )

    def blocked_by(self, thresholds: Floats) -> tuple[Floats, Floats]:
        """Return the share of all campaigns that are blocked wrongly, and rightly, by each."""
        order = np.argsort(self.highest)
        below = np.searchsorted(self.highest[order], thresholds)
        shares = []
        for chosen in (~self.guarded, self.guarded):
            weights = np.where(chosen, self.weight, 0.0)[order]
            from_here = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
            shares.append(from_here[below])
        return shares[0], shares[1]


def highest_scores(evaluated: EvaluatedSet, label_ids: Sequence[int]) -> Floats:
    """Return the highest score of each campaign, in the order of their numbers."""
    _, rows = np.unique(evaluated.groups, return_inverse=True)
    highest = np.full(evaluated.campaigns, -np.inf)
    np.maximum.at(highest, rows, evaluated.score_of(label_ids))
    return highest


def propose(
    budget: Budget, validation: WeighedCampaigns, highest: Floats, current: float | None
) -> Proposal | None:
    """Return the thresholds to test; ``None`` if the best estimate allows none.

    The lowest is the one that blocks the most within the budget, or costs least, if the validation
    campaigns of each label are weighed by its new share. The others are stricter, so that one of
    them may be shown to keep the budget; the ``current`` one is among them if it keeps it.
    ``highest`` is the highest score of each new campaign; all other thresholds are among these.
    """
    candidates = highest if current is None else np.append(highest, current)
    thresholds = np.unique(candidates)[::-1]
    wrong, right = validation.blocked_by(thresholds)
    harmless = validation.weight[~validation.guarded].sum()
    guarded = validation.weight[validation.guarded].sum()
    used = _used_share(budget, wrong, right, float(harmless))
    if budget.kind == "cost_ratio":
        # A lower threshold than the cheapest costs more.
        cheapest = int((budget.limit * wrong + guarded - right).argmin())
        used[cheapest + 1 :] = np.inf
    lowest = [int(np.flatnonzero(used <= share)[-1]) for share in _USED if (used <= share).any()]
    if not lowest:
        return None
    n_blocked = np.searchsorted(np.sort(-highest), -thresholds, side="right")
    aims = [share * n_blocked[lowest[0]] for share in _STRICTER]
    stricter = [int(np.searchsorted(n_blocked, max(1.0, aim))) for aim in aims]
    of_current = [] if current is None else np.flatnonzero(thresholds == current).tolist()
    allowed = [number for number in of_current if number <= lowest[-1]]
    chosen = np.unique([*stricter, *lowest, *allowed])
    last = chosen[-1]
    blocked_weight = wrong[last] + right[last]
    return Proposal(
        budget=budget,
        thresholds=tuple(thresholds[chosen].tolist()),
        blocked=tuple(n_blocked[chosen].tolist()),
        highest=highest,
        false_positive_rate=float(wrong[last] / harmless) if harmless else 0.0,
        precision=float(right[last] / blocked_weight) if blocked_weight else 1.0,
        recall=float(right[last] / guarded) if guarded else 0.0,
    )


def _used_share(budget: Budget, wrong: Floats, right: Floats, harmless: float) -> Floats:
    """Return the share of the budget that each threshold is estimated to use."""
    if budget.kind == "max_false_positive_rate":
        cost = wrong / harmless if harmless else np.zeros_like(wrong)
    else:
        blocked = wrong + right
        cost = np.divide(wrong, blocked, out=np.zeros_like(wrong), where=blocked > 0)
    used: Floats = cost / budget.largest
    return used


def draw_campaigns(proposal: Proposal, number: int, order: Ints) -> Ints:
    """Return the campaigns to label: the first ``number`` of ``order`` that are blocked.

    ``order`` is a random order of all new campaigns, so each campaign that the lowest threshold
    blocks is drawn with equal chance, and so are those among them that a stricter one blocks.
    """
    blocked: Ints = order[proposal.highest[order] >= proposal.thresholds[-1]]
    return blocked[:number]
