"""The checks that an exported form must pass against the run that it was made from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from smstune.arrays import Floats
from smstune.config.schema import CascadeConfig, OperatingPointConfig
from smstune.errors import GateError
from smstune.evaluation.calibration.cascade import fit_cascade
from smstune.evaluation.calibration.operating_points import (
    choose_operating_point,
    observed_points,
)
from smstune.evaluation.evaluated import EvaluatedSet, LabelledSet, with_answers
from smstune.evaluation.scores.metrics import compute_scores
from smstune.inference.backends.exported import ParityRow, QualityRow
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import (
    Calibration,
    OperatingPoint,
    PointScores,
    with_early_answers,
)
from smstune.inference.labels import LabelMap
from smstune.inference.tokenization import pad
from smstune.language import Message, joined
from smstune.progress import Progress

#: Largest difference of a logit in fp32.
TOLERANCE = 1e-4
_BATCHES = (1, 7, 32)
_LONGEST = (8, 16, 32, 64, 128, 256, 512)

logger = logging.getLogger(__name__)


def check_parity(
    original: SmsClassifier, candidate: SmsClassifier, texts: Sequence[str]
) -> list[ParityRow]:
    """Compare fp32 logits with torch's, for messages of every length and batches of each size.

    Returns a row for each bucket of lengths and batch size; the bucket of mixed lengths has the
    most padding.

    Raises:
        GateError: if a logit differs by more than 1e-4, or a message gets another label.
    """
    run = original.run
    rows = []
    for tokens, bucket in _buckets(run.encoder.encode(texts)).items():
        for size in _BATCHES:
            chosen = bucket[:size]
            batch = pad(chosen, run.encoder.padding)
            (expected,), (exported,) = (
                classifier.backend.run([batch]) for classifier in (original, candidate)
            )
            difference = float(np.abs(expected - exported).max())
            same = _answers(original, expected) == _answers(original, exported)
            if not difference <= TOLERANCE or not same.all():
                raise GateError(
                    "parity gate: expected logits within {tolerance:g} of torch's and the same "
                    "labels, found a difference of {difference:.2g} and {n_other} other labels in "
                    "a batch of {n_messages} with {tokens} tokens: nothing was exported",
                    tolerance=TOLERANCE,
                    difference=difference,
                    n_other=(~same).sum(),
                    n_messages=len(chosen),
                    tokens=tokens,
                )
            rows.append(
                ParityRow(
                    tokens=tokens,
                    batch=size,
                    messages=len(chosen),
                    largest_difference=difference,
                )
            )
    return rows


def _buckets(ids: Sequence[list[int]]) -> dict[str, list[list[int]]]:
    """Return up to 32 messages of each range of lengths that has any, and of mixed lengths."""
    order = sorted(ids, key=len)
    low, buckets = 0, {}
    for longest in _LONGEST:
        bucket = [row for row in order if low < len(row) <= longest]
        if bucket:
            buckets[f"up to {longest}"] = bucket[-max(_BATCHES) :]
        low = longest
    # Evenly over the lengths, the longest first.
    spread = np.linspace(len(order) - 1, 0, min(max(_BATCHES), len(order))).round().astype(int)
    return {**buckets, "mixed": [order[position] for position in spread]}


def _answers(classifier: SmsClassifier, logits: Floats) -> NDArray[np.int64]:
    temperature = classifier.run.manifest.calibration.temperature
    return classifier.answers(softmax(logits / temperature, axis=-1))


@dataclass(frozen=True)
class EvaluatedForm:
    """Scores of a form on the validation split, by name, and its logits.

    ``calibration`` has the thresholds that the scores were measured with.
    """

    scores: dict[str, float]
    logits: Floats
    calibration: Calibration


def evaluate_form(
    form: str, classifier: SmsClassifier, validation: LabelledSet, *, own_thresholds: bool
) -> EvaluatedForm:
    """Return ``macro_f1``, ``ece`` and, by each current operating point, ``recall of NAME``.

    With ``own_thresholds`` the cascade is tested against this form's own answers, and the points
    are fitted to its probabilities, each within its budget: with the run's thresholds, a form of
    higher probabilities would block more messages than the budget allows. ``form`` names it in the
    progress.
    """
    calibration, labels = classifier.run.manifest.calibration, classifier.labels
    with Progress(
        Message("scoring {form} on validation", form=form), len(validation.texts)
    ) as progress:
        logits, linear = classifier.parts(validation.texts, progress)
    full = calibration.full_probabilities(logits, linear)
    if own_thresholds:
        evaluated = with_answers(validation, full, classifier.answers(full))
        calibration = _with_own_cascade(calibration, evaluated, linear)
    probabilities = with_early_answers(full, linear, calibration.cascade)
    evaluated = with_answers(validation, probabilities, classifier.answers(probabilities))
    if own_thresholds:
        compared = calibration.checkpoints_compared
        points = [
            _refitted(point, evaluated, labels, compared) for point in calibration.operating_points
        ]
        calibration = calibration.model_copy(update={"operating_points": points})
    metrics = compute_scores(
        probabilities, validation.truth, labels, label_bias=calibration.label_bias
    )
    recalls = {
        f"recall of {point.name}": point.observed.recall
        for point in observed_points(evaluated, calibration.operating_points, labels)
        if isinstance(point.observed, PointScores) and point.observed.recall is not None
    }
    scores = {"macro_f1": metrics.macro_f1, "ece": metrics.ece, **recalls}
    return EvaluatedForm(scores, logits, calibration)


def _with_own_cascade(calibration: Calibration, full: EvaluatedSet, linear: Floats) -> Calibration:
    """Return a run's calibration with its cascade tested again, on a form's ``full`` answers."""
    cascade = calibration.cascade
    if cascade is None:
        return calibration
    section = CascadeConfig(max_changed=cascade.max_changed, confidence=cascade.confidence)
    compared = calibration.checkpoints_compared
    cascade = fit_cascade(section, full, linear, calibration.label_bias, compared)
    return calibration.model_copy(update={"cascade": cascade})


def warn_without_cascade(form: str, calibration: Calibration) -> None:
    """Say why a form has no cascade, where its calibration asks for one."""
    if calibration.cascade is not None and calibration.cascade.reason is not None:
        logger.warning("warning: %s has no cascade: %s", form, calibration.cascade.reason)


def _refitted(
    point: OperatingPoint, evaluated: EvaluatedSet, labels: LabelMap, checkpoints_compared: int
) -> OperatingPoint:
    """Return an operating point of the run with its threshold fitted to a form's probabilities."""
    if point.threshold is None:
        return point
    on_validation = point.on_validation
    section = OperatingPointConfig(
        labels=point.labels,
        confidence=point.confidence,
        # The form may send at most as many messages to review as the run does.
        review_share=(on_validation and on_validation.review_share) or 0.0,
        **point.budget,
    )
    label_ids = labels.ids_of(point.labels, point.name)
    return choose_operating_point(point.name, section, evaluated, label_ids, checkpoints_compared)


def compare_quality(
    original: EvaluatedForm,
    candidate: EvaluatedForm,
    *,
    max_macro_f1_loss: float,
    max_recall_loss: float,
    max_ece_rise: float,
) -> list[QualityRow]:
    """Return each score of the original beside the candidate's, and whether it kept its budget."""
    rows = []
    for name, before in original.scores.items():
        # An operating point without a threshold blocks nothing: its recall is 0.
        after = candidate.scores.get(name, 0.0)
        budget, loss = {
            "macro_f1": (max_macro_f1_loss, before - after),
            "ece": (max_ece_rise, after - before),
        }.get(name, (max_recall_loss, before - after))
        # Summing in another order changes the last digits.
        passed = loss <= budget + 1e-12
        rows.append(
            QualityRow(name=name, original=before, exported=after, budget=budget, kept=passed)
        )
    return rows


def failures(rows: Sequence[QualityRow]) -> str:
    """Return the scores that missed their budget as one line, empty if none did."""
    missed = [
        Message(
            "{name} {original:.4f} became {exported:.4f}, budget {budget:g}",
            name=row.name,
            original=row.original,
            exported=row.exported,
            budget=row.budget,
        )
        for row in rows
        if not row.kept
    ]
    return joined(missed, "; ")


def layers_to_keep(
    layers: Sequence[str],
    measure: Callable[[list[str]], EvaluatedForm],
    original: EvaluatedForm,
    passes: Callable[[EvaluatedForm], bool],
) -> list[str]:
    """Return a small set of layers that make a form pass the gate if they stay in fp32.

    ``measure`` builds the form with the given layers in fp32 and scores it; ``passes`` is the gate.
    Each layer is tried alone first. If none suffices, layers are added one by one, starting with
    those that alone brought the logits closest to the original's.
    """
    alone = {layer: measure([layer]) for layer in layers}
    closest_first = sorted(layers, key=lambda layer: _distance(alone[layer], original))
    for layer in closest_first:
        if passes(alone[layer]):
            return [layer]
    for count in range(2, len(closest_first)):
        if passes(measure(closest_first[:count])):
            return closest_first[:count]
    return closest_first


def _distance(form: EvaluatedForm, original: EvaluatedForm) -> float:
    return float(np.abs(form.logits - original.logits).mean())
