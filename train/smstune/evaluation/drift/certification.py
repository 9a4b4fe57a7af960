"""Whether a threshold keeps its budget, shown by the labels of a few of the campaigns it blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smstune.evaluation.calibration.operating_points import upper_bound


@dataclass(frozen=True)
class Budget:
    """What blocking may cost, and how surely: one of the three kinds of an operating point.

    ``negatives`` is the lower bound of the share of harmless campaigns among the new ones, which
    only ``max_false_positive_rate`` needs; ``campaigns`` counts all new campaigns.
    """

    kind: str
    limit: float
    confidence: float
    campaigns: int
    negatives: float

    @property
    def of_wrong(self) -> float:
        """The confidence of the bound of the share blocked wrongly.

        A false-positive rate has two bounds, and each gets half of what may fail.
        """
        if self.kind == "max_false_positive_rate":
            return 1 - (1 - self.confidence) / 2
        return self.confidence

    def bound(self, blocked: int, drawn: int, wrong: int) -> float:
        """Return the upper bound of what blocking costs, in the unit of ``largest``.

        So many campaigns are ``blocked``, of which ``drawn`` were labelled and ``wrong`` turned out
        harmless. Clopper and Pearson's bound of the share of blocked campaigns that are blocked
        wrongly; a false-positive rate is this share times the share blocked, which is counted, over
        the share of harmless campaigns.
        """
        of_blocked = float(upper_bound(wrong, drawn, self.of_wrong))
        if self.kind != "max_false_positive_rate":
            return of_blocked
        # A bound of nearly 0 harmless campaigns would make any rate infinite.
        harmless = max(self.negatives * self.campaigns, 0.5)
        return of_blocked * blocked / harmless

    @property
    def largest(self) -> float:
        """The largest bound that keeps the budget: of the rate, or of the share blocked wrongly.

        A cost is below that of blocking nothing as long as, of ``cost_ratio`` + 1 blocked
        campaigns, less than one is harmless.
        """
        if self.kind == "min_precision":
            return 1 - self.limit
        return 1 / (1 + self.limit) if self.kind == "cost_ratio" else self.limit


@dataclass(frozen=True)
class LabelledBlock:
    """A threshold, the new campaigns that it blocks, and what was labelled of them."""

    threshold: float
    blocked: int
    drawn: int
    wrong: int


@dataclass(frozen=True)
class Tested:
    """A tested threshold, the bound of what it costs, and whether the bound keeps the budget."""

    block: LabelledBlock
    bound: float
    kept: bool


def certify(budget: Budget, blocks: Sequence[LabelledBlock]) -> list[Tested]:
    """Return the thresholds that were tested, in their order; the last that is kept may be used.

    ``blocks`` are ordered from the strictest threshold down, and are tested in this order until one
    fails (fixed-sequence testing; Angelopoulos et al., "Learn then Test", 2021), so that the
    confidence holds for all of them together. The strictest ones, of which too few campaigns were
    drawn to pass even without an error, are skipped; that depends on no label.
    """
    tested: list[Tested] = []
    for block in blocks:
        if not tested and budget.bound(block.blocked, block.drawn, 0) > budget.largest:
            continue
        bound = budget.bound(block.blocked, block.drawn, block.wrong)
        tested.append(Tested(block=block, bound=bound, kept=bound <= budget.largest))
        if not tested[-1].kept:
            break
    return tested


def step_to_take(tested: Sequence[Tested], current: float | None, lowest: float) -> Tested | None:
    """Return the threshold to move to; ``None`` if the ``current`` one stays.

    A current threshold from ``lowest`` up, which is estimated to keep its budget, does not become
    stricter only because the labels show no more: that would lose recall and gain nothing.
    """
    kept = [step for step in tested if step.kept]
    if not kept:
        return None
    if current is not None and lowest <= current < kept[-1].block.threshold:
        return None
    return kept[-1]
