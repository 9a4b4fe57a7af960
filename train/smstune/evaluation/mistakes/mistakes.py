"""The most informative mistakes, with personal information masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smstune.arrays import Ints
from smstune.evaluation.evaluated import EvaluatedSet
from smstune.inference.labels import LabelMap
from smstune.text.pii.mask import shown


@dataclass(frozen=True)
class ShownAnswer:
    """A message with its true label, the answer and its probability; the text is masked and cut."""

    label: str
    answer: str
    probability: float
    text: str


@dataclass(frozen=True)
class MistakenCampaign:
    """A campaign of several wrong answers, and one of its wrongly answered messages."""

    mistakes: int
    messages: int
    example: ShownAnswer


@dataclass(frozen=True)
class InstructiveAnswers:
    """Answers worth a look, each list with the worst first."""

    confident_mistakes: Sequence[ShownAnswer]
    uncertain_hits: Sequence[ShownAnswer]
    campaigns: Sequence[MistakenCampaign]


def instructive_answers(
    evaluated: EvaluatedSet, labels: LabelMap, *, limit: int = 15
) -> InstructiveAnswers:
    """Return the most confident mistakes, the least certain hits, and the worst campaigns.

    A campaign counts from two mistakes on.
    """
    confidence = evaluated.confidence

    def show_answer(row: int) -> ShownAnswer:
        return ShownAnswer(
            label=labels.names[evaluated.truth[row]],
            answer=labels.names[evaluated.answers[row]],
            probability=float(confidence[row]),
            text=shown(evaluated.texts[row]),
        )

    mistakes, hits = review_order(evaluated)
    _, group = np.unique(evaluated.groups, return_inverse=True)
    n_mistakes = np.bincount(group, weights=~evaluated.right)
    by_mistakes = np.argsort(-n_mistakes, kind="stable")
    campaigns = [
        MistakenCampaign(
            mistakes=int(n_mistakes[campaign]),
            messages=int((group == campaign).sum()),
            example=show_answer(int(np.flatnonzero((group == campaign) & ~evaluated.right)[0])),
        )
        for campaign in by_mistakes[n_mistakes[by_mistakes] >= 2][:limit].tolist()
    ]
    return InstructiveAnswers(
        confident_mistakes=[show_answer(row) for row in mistakes[:limit].tolist()],
        uncertain_hits=[show_answer(row) for row in hits[:limit].tolist()],
        campaigns=campaigns,
    )


def review_order(evaluated: EvaluatedSet) -> tuple[Ints, Ints]:
    """Return the rows of wrong answers, the most confident first, and of right ones, the least."""
    order = np.argsort(evaluated.confidence, kind="stable")
    right = evaluated.right[order]
    return order[~right][::-1], order[right]
