"""Chooses when the linear model answers alone, so that it seldom changes an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smstune.arrays import Flags, Floats
from smstune.config.schema import CascadeConfig
from smstune.evaluation.calibration.operating_points import (
    corrected_confidence,
    needed,
    upper_bound,
    with_correction,
)
from smstune.evaluation.calibration.temperature import fit_temperature
from smstune.evaluation.evaluated import EvaluatedSet
from smstune.inference.cascade import Cascade, CascadeScores
from smstune.inference.decision import biased_labels, with_early_answers
from smstune.language import Message

#: Thresholds to test, strictest first. Fixed, because the test holds only for thresholds that do
#: not depend on the messages. The scores are signed distances of support vector machines, whose
#: training aims at a margin of 2 between the right label and every other.
THRESHOLDS = tuple(np.round(np.arange(3.0, 0.0, -0.05), 2).tolist())
#: A linear model's scores may be multiplied by up to 20: its margins of 1 to 2 can mean certainty.
_TEMPERATURES = (0.05, 5.0)
_UNSURE = Message(
    "the linear model is sure of no message: no margin reaches {margin:g}", margin=THRESHOLDS[-1]
)


def fit_cascade(
    section: CascadeConfig,
    full: EvaluatedSet,
    linear: Floats,
    label_bias: Sequence[float],
    checkpoints_compared: int,
) -> Cascade:
    """Return the cascade that answers most messages early and keeps ``section.max_changed``.

    ``full`` are the validation messages with the answers of encoder and linear model together,
    ``linear`` the linear model's scores of them, shape ``(messages, labels)``. Where no threshold
    keeps the budget, the threshold is ``None`` and the reason says what is missing.

    Fixed-sequence testing (Angelopoulos et al., "Learn then Test", 2021, section 2.3): each
    threshold is tested, the strictest first, by Clopper and Pearson's bound of the share of
    campaigns with a changed answer; the first that fails ends the tests, the last that passed is
    taken. Each test is at the full confidence, since one is made only if all before it passed.

    Bonferroni's correction for ``checkpoints_compared`` applies: the answers compared with are
    those of the checkpoint that the same messages selected. It agrees with their labels better here
    than on other messages, so it also agrees better with the linear model, which is mostly right
    where it is sure. With label biases, the temperature of early answers decides some of them and
    is fitted to the same messages; one number hardly overfits, and biases are off by default.
    """
    confidence = corrected_confidence(section.confidence, checkpoints_compared)
    chosen = Cascade(max_changed=section.max_changed, confidence=section.confidence, threshold=None)
    for threshold in THRESHOLDS:
        cascade = _with_temperature(section, threshold, full, linear)
        scores = measure_cascade(cascade, full, linear, label_bias, confidence)
        if scores.bound > section.max_changed:
            break
        if scores.early_messages:
            chosen = cascade.model_copy(update={"validation": scores})
    if chosen.threshold is None:
        is_sure = bool(scores.changed_campaigns)
        reason = _reason(chosen, full.campaigns, checkpoints_compared, is_sure=is_sure)
        chosen = chosen.model_copy(update={"reason": reason})
    return chosen


def reason_for_none(cascade: Cascade, n_campaigns: int, checkpoints_compared: int) -> Message:
    """Return why a cascade fitted on ``n_campaigns`` has no threshold.

    ``cascade.reason`` is the same text once it is read from a file, where it cannot be translated.
    """
    is_sure = not (cascade.reason or "").startswith(_UNSURE)
    return _reason(cascade, n_campaigns, checkpoints_compared, is_sure=is_sure)


def measure_cascade(
    cascade: Cascade,
    full: EvaluatedSet,
    linear: Floats,
    label_bias: Sequence[float],
    confidence: float,
) -> CascadeScores:
    """Return what a cascade does to the messages of ``full``, its bound at ``confidence``.

    ``full`` has the answers without a cascade, ``linear`` the linear model's scores. A campaign
    counts as changed if the answer to any of its messages changes.
    """
    probabilities = with_early_answers(full.probabilities, linear, cascade)
    changed: Flags = biased_labels(probabilities, label_bias) != full.answers
    n_changed_campaigns = len(np.unique(full.groups[changed]))
    return CascadeScores(
        messages=len(changed),
        campaigns=full.campaigns,
        early_messages=int(cascade.is_early(linear).sum()),
        changed_messages=int(changed.sum()),
        changed_campaigns=n_changed_campaigns,
        bound=float(upper_bound(n_changed_campaigns, full.campaigns, confidence)),
    )


def _with_temperature(
    section: CascadeConfig, threshold: float, full: EvaluatedSet, linear: Floats
) -> Cascade:
    """Return the cascade of a threshold, its temperature fitted to the messages it answers."""
    cascade = Cascade(
        max_changed=section.max_changed, confidence=section.confidence, threshold=threshold
    )
    early = cascade.is_early(linear)
    if not early.any():
        return cascade
    temperature = fit_temperature(linear[early], full.truth[early], bounds=_TEMPERATURES)
    return cascade.model_copy(update={"temperature": temperature})


def _reason(
    cascade: Cascade, n_campaigns: int, checkpoints_compared: int, *, is_sure: bool
) -> Message:
    """Return why there is no threshold; ``is_sure``: the linear model answers some message."""
    confidence = corrected_confidence(cascade.confidence, checkpoints_compared)
    n_needed = needed(cascade.max_changed, confidence)
    values = {
        "max_changed": cascade.max_changed,
        "confidence": confidence,
        "n_needed": n_needed,
        "n_campaigns": n_campaigns,
    }
    if n_campaigns < n_needed:
        reason = Message(
            "the validation split is too small: a share of {max_changed:g} of the campaigns with "
            "a changed answer at confidence {confidence:.4g} takes {n_needed:,} campaigns with "
            "none changed, found {n_campaigns:,}",
            **values,
        )
    elif not is_sure:
        reason = _UNSURE
    else:
        reason = Message(
            "the linear model changes the answers of too many campaigns where it is surest: of "
            "the {n_campaigns:,} campaigns, a share of {max_changed:g} at confidence "
            "{confidence:.4g} takes {n_needed:,} campaigns with none changed",
            **values,
        )
    return with_correction(reason, cascade.confidence, checkpoints_compared)
