"""What ``smstune eval --drift`` measures, as ``drift.json`` holds it.

``reference`` is the split of the run's own data, ``new`` the new messages.
"""

from __future__ import annotations

from pydantic import Field

from smstune.evaluation.scores.results import Bounds
from smstune.results import Result


class ReferenceMessages(Result):
    """The split that new messages are compared with, and its distinct messages."""

    split: str
    distinct: int
    campaigns: int


class NewMessages(Result):
    """The new messages: rows read, those without use, and labels that the run does not know."""

    name: str
    path: str
    messages: int
    unusable: int
    unknown: int
    distinct: int
    campaigns: int


class LabelShift(Result):
    """A label's share of the answers on both sides, and whether it shifted.

    ``reference`` and ``new`` are shares of messages. The rest counts campaigns, each under its most
    frequent answer, since copies are not independent: ``campaigns`` on either side, the
    ``difference`` of the shares with its 95 % interval, and Fisher's exact p value.
    """

    label: str
    reference: float
    new: float
    campaigns: tuple[int, int]
    difference: float
    ci: Bounds
    p: float
    p_holm: float
    shifted: bool


class Quantiles(Result):
    """Mean and quantiles of the probability of the answers."""

    mean: float
    low: float = Field(alias="5 %")
    quarter: float = Field(alias="25 %")
    median: float


class UnknownTokens(Result):
    """Tokens that the vocabulary lacks: their share, all tokens, messages with one."""

    rate: float
    tokens: int
    messages: int


class StabilityBin(Result):
    """Messages of both sides whose value is at most ``up_to``, or whose answer is that label."""

    up_to: str | float | None
    reference: int
    new: int


class Stability(Result):
    """The population stability index of a feature, its chance level, and the verdict."""

    feature: str
    psi: float
    chance: float
    verdict: str = Field(alias="reading")
    bins: list[StabilityBin]


class Month(Result):
    """A month's messages and, where some have a label of the run, scores with 95 % intervals."""

    month: str
    messages: int
    campaigns: int
    confidence: float
    labelled: int
    accuracy: float | None
    accuracy_ci: Bounds | None
    macro_f1: float | None
    macro_f1_ci: Bounds | None


class Confidence(Result):
    """The probability of the answers on both sides."""

    reference: Quantiles
    new: Quantiles


class Unknown(Result):
    """Unknown tokens on both sides."""

    reference: UnknownTokens
    new: UnknownTokens


class Unseen(Result):
    """Shares of the messages of both sides that are in no campaign of the training set."""

    reference: float
    new: float


class Drift(Result):
    """How new messages differ from the split that a run was evaluated on."""

    run: str
    reference: ReferenceMessages
    new: NewMessages
    labels: list[LabelShift]
    confidence: Confidence
    unknown_tokens: Unknown
    psi: list[Stability]
    no_known_campaign: Unseen
    months: list[Month]
