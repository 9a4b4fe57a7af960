"""A remembered campaign, and its form in an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from smstune.results import Result

#: What is done with the messages of a campaign, whatever the model says.
Action = Literal["allow", "block"]
#: In the order in which they are applied; ``None`` only replaces the model's label.
ACTIONS: tuple[Action | None, ...] = (*get_args(Action), None)


class FalseAlarms(Result):
    """How many messages of other labels a campaign matches among those of ``source``.

    ``bound`` is the upper bound of the share of campaigns of other labels that it matches, at a
    confidence of 95 %.
    """

    source: str
    messages: int
    of_messages: int
    campaigns: int
    of_campaigns: int
    bound: float


class Entry(Result):
    """A remembered campaign: what is done with it, who reported it, when and why.

    Times are in ISO 8601. ``messages`` counts the distinct messages that are remembered,
    ``false_alarms`` is ``None`` if they were not measured.
    """

    id: int
    label: str
    action: Action | None
    reason: str | None
    until: str | None
    reporter: str | None
    first: str
    last: str
    messages: int
    false_alarms: FalseAlarms | None


@dataclass(frozen=True)
class KnownCampaign:
    """The remembered campaign of a message, as its answer carries it.

    ``first`` is the day of the first report, ``similarity`` that of the message to the nearest
    remembered one.
    """

    id: int
    label: str
    action: Action | None
    first: str
    similarity: float
    reason: str | None
