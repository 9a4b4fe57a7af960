"""The rule by which the linear model alone answers the messages that it is sure of."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from smstune.arrays import Flags, Floats
from smstune.results import Result


class CascadeScores(Result):
    """What a cascade does to a set: how much it answers early, and which answers that changes.

    ``bound`` is the upper bound of the share of campaigns with a changed answer.
    """

    messages: int
    campaigns: int
    early_messages: int
    changed_messages: int
    changed_campaigns: int
    bound: float

    @property
    def early_share(self) -> float:
        """The share of the messages that are answered early."""
        return self.early_messages / self.messages

    @property
    def changed_share(self) -> float:
        """The share of the campaigns in which an answer changes."""
        return self.changed_campaigns / self.campaigns


class Cascade(BaseModel):
    """When the linear model answers alone, and what was promised for it.

    Otherwise encoder and linear model answer together, as they do without a cascade.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    #: Largest share of campaigns with a changed answer, and the confidence that it is kept.
    max_changed: float
    confidence: float
    #: Smallest difference between the two best linear scores at which the linear model answers.
    #: ``None``: no threshold keeps ``max_changed``, ``reason`` says why, and it never does.
    threshold: float | None = Field(gt=0)
    #: What the linear scores of early answers are divided by before the softmax.
    temperature: float = Field(1.0, ge=0.01, le=20)
    reason: str | None = None
    #: What it does to the validation split, if it has a threshold.
    validation: CascadeScores | None = None

    def is_early(self, linear: Floats) -> Flags:
        """Return which messages are answered early, by their linear scores (messages, labels)."""
        if self.threshold is None:
            return np.zeros(len(linear), dtype=bool)
        early: Flags = margins(linear) >= self.threshold
        return early


def margins(linear: Floats) -> Floats:
    """Return the difference between the two best scores of each row."""
    best = np.partition(linear, -2, axis=1)
    difference: Floats = best[:, -1] - best[:, -2]
    return difference
