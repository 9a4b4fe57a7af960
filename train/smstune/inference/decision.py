"""From calibrated probabilities to an answer: the label, and what is done with the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from smstune.arrays import Flags, Floats
from smstune.inference.cascade import Cascade
from smstune.inference.labels import LabelMap
from smstune.results import Result

#: ``block``: do not deliver it. ``review``: let a person look. ``pass``: deliver it.
Decision = Literal["block", "review", "pass"]


class PointCounts(Result):
    """How many messages and campaigns a point was measured on.

    ``guarded`` ones have a label that it guards, the other ones have not.
    """

    messages: int
    guarded_messages: int
    other_campaigns: int
    guarded_campaigns: int


class PointScores(PointCounts):
    """What a point with a threshold does to a set: shares in [0, 1], ``None`` where undefined.

    ``hit_campaigns`` are other campaigns with a blocked message, ``false_positive_rate``
    their share and ``false_positive_bound`` its upper bound. ``review_guarded`` is the share of
    guarded messages among those that people look at; ``recall_with_review`` that of guarded
    messages blocked if people are right about all of them.
    """

    hit_campaigns: int
    false_positive_rate: float | None
    false_positive_bound: float | None
    message_false_positive_rate: float | None
    precision: float | None
    recall: float | None
    stopped_share: float | None
    review_share: float | None
    review_guarded: float | None
    recall_with_review: float | None


class Certificate(Result):
    """What shows that a threshold keeps its budget: labels of new campaigns that it blocks.

    Of ``campaigns`` in the new ``messages``, the threshold blocks ``blocked``; ``drawn`` of these
    were labelled, and ``wrong`` are harmless. ``negatives`` is the lower bound of the share of
    harmless campaigns, where the budget is a false-positive rate. ``bound`` is the upper bound of
    that rate, or for other budgets of the share of blocked campaigns that are blocked wrongly.
    ``time`` is that of the command that moved the threshold (ISO 8601), ``replaces`` the point as
    it was before.
    """

    messages: str
    time: str
    campaigns: int
    blocked: int
    drawn: int
    wrong: int
    negatives: float | None
    bound: float
    confidence: float
    seed: int
    replaces: OperatingPoint


class OperatingPoint(BaseModel):
    """A threshold on the summed probability of the guarded labels, and what was promised for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    name: str
    #: Labels or parents of labels, as the configuration names them.
    labels: list[str]
    budget: dict[str, float]
    confidence: float
    #: ``None`` where no threshold keeps the budget; ``reason`` says why.
    threshold: float | None
    #: Scores from here up to the threshold go to a person; ``None``: there is no such band.
    review_from: float | None = None
    reason: str | None = None
    #: What it does to the validation split.
    validation: PointScores | PointCounts | None = None
    #: ``None`` where the threshold was fitted on validation (``smstune recalibrate``).
    certified: Certificate | None = None

    @property
    def on_validation(self) -> PointScores | None:
        """What it does to the validation split, if it has a threshold."""
        return self.validation if isinstance(self.validation, PointScores) else None


class FitScores(Result):
    """Scores of the messages that a calibration was fitted on; ``nll`` is in nats."""

    nll: float
    ece: float
    macro_f1: float


class Fit(Result):
    """What a calibration was fitted on, and the scores before and after."""

    split: str
    messages: int
    campaigns: int
    before: FitScores
    after: FitScores


#: A fit, or none, which JSON has as an empty object.
OptionalFit = Annotated[
    Fit | None,
    BeforeValidator(lambda fit: fit or None),
    PlainSerializer(lambda fit: fit.to_json() if fit else {}, return_type=dict[str, Any]),
]


class Calibration(BaseModel):
    """What turns logits into the probabilities, labels and decisions that a run answers with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    # Wider than what is ever fitted (evaluation/calibration/fit.py), so that a value out of these
    # bounds is damage.
    temperature: float = Field(1.0, ge=0.05, le=20)
    #: What the linear model's scores are multiplied by before they are added to the logits.
    linear_weight: float = Field(0.0, ge=0, le=100)
    #: Added to the log-probability of each label before the largest is the answer; empty: nothing.
    label_bias: list[Annotated[float, Field(ge=-100, le=100)]] = []
    #: ``None``: every message is answered by encoder and linear model together.
    cascade: Cascade | None = None
    operating_points: list[OperatingPoint] = []
    #: How many checkpoints the validation split chose among; the points' bounds allow for it.
    checkpoints_compared: int = Field(1, ge=1)
    #: ``None``: it was not fitted.
    fitted_on: OptionalFit = None

    def full_probabilities(self, logits: Floats, linear: Floats) -> Floats:
        """Return what encoder and linear model together answer, shape ``(messages, labels)``.

        ``logits`` are the encoder's, ``linear`` the linear model's scores, of the same shape.
        """
        return softmax(self.joined_logits(logits, linear) / self.temperature)

    def joined_logits(self, logits: Floats, linear: Floats) -> Floats:
        """Return the logits of encoder and linear model together, before the temperature.

        ``logits`` are the encoder's, ``linear`` the linear model's scores, of the same shape.
        """
        joined: Floats = logits + self.linear_weight * linear
        return joined

    def is_early(self, linear: Floats) -> Flags:
        """Return which messages the linear model answers alone, by its scores."""
        if self.cascade is None:
            return np.zeros(len(linear), dtype=bool)
        return self.cascade.is_early(linear)


def softmax(logits: Floats) -> Floats:
    """Return the probabilities of logits, over the last axis; in numpy alone."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def with_early_answers(probabilities: Floats, linear: Floats, cascade: Cascade | None) -> Floats:
    """Return probabilities in which the linear model alone answers what it is sure of.

    ``probabilities`` are those of encoder and linear model together, ``linear`` the linear model's
    scores of the same messages; both have the shape ``(messages, labels)``.
    """
    if cascade is None:
        return probabilities
    early = cascade.is_early(linear)[:, None]
    return np.where(early, softmax(linear / cascade.temperature), probabilities)


def biased_labels(probabilities: Floats, bias: Sequence[float]) -> NDArray[np.int64]:
    """Return the label id of each row: the largest log-probability plus ``bias`` (if any)."""
    scores = probabilities
    if len(bias):
        with np.errstate(divide="ignore"):
            scores = np.log(probabilities) + np.asarray(bias)
    answers: NDArray[np.int64] = scores.argmax(axis=1)
    return answers


def point_scores(probabilities: Floats, point: OperatingPoint, labels: LabelMap) -> Floats:
    """Return each message's score for a point: the summed probability of its labels."""
    scores: Floats = probabilities[:, labels.ids_of(point.labels, point.name)].sum(axis=1)
    return scores


def decide(
    probabilities: Floats, points: Sequence[OperatingPoint], labels: LabelMap
) -> list[Decision | None]:
    """Return what is done with each message: the strictest that any operating point says.

    ``None`` for every message where no point has a threshold: nothing says what to block.
    """
    in_force = [(point, point.threshold) for point in points if point.threshold is not None]
    if not in_force:
        return [None] * len(probabilities)
    blocked = np.zeros(len(probabilities), dtype=bool)
    doubtful = np.zeros(len(probabilities), dtype=bool)
    for point, threshold in in_force:
        scores = point_scores(probabilities, point, labels)
        blocked |= scores >= threshold
        if point.review_from is not None:
            doubtful |= scores >= point.review_from
    return [
        "block" if block else "review" if look else "pass"
        for block, look in zip(blocked.tolist(), doubtful.tolist(), strict=True)
    ]
