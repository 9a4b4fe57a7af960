"""What an exported form must keep of the run it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from smstune.arrays import Floats
from smstune.config.schema import ExportConfig, OperatingPointConfig
from smstune.errors import GateError
from smstune.evaluation.calibration.operating_points import (
    Scored,
    choose_operating_point,
    observed_points,
)
from smstune.evaluation.labelled import Labelled
from smstune.evaluation.scores.metrics import compute_metrics
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration, OperatingPoint, point_scores
from smstune.inference.labels import LabelMap
from smstune.inference.tokenization import PaddingCollator, tokenize

#: Largest difference of a logit in fp32.
TOLERANCE = 1e-4
_BATCHES = (1, 7, 32)
_LONGEST = (8, 16, 32, 64, 128, 256, 512)


def check_parity(
    original: SmsClassifier, candidate: SmsClassifier, texts: Sequence[str]
) -> list[dict[str, Any]]:
    """Hold fp32 logits against torch's, for messages of every length and batches of each size.

    Returns a row for each bucket of lengths and batch size: ``tokens`` (up to how many, or
    ``mixed`` lengths, which pads most), ``batch``, ``messages``, ``largest_difference``.

    Raises:
        GateError: if a logit differs by more than 1e-4, or a label by the run's own rule.
    """
    artifact = original.artifact
    ids = tokenize(texts, artifact.tokenizer, artifact.manifest.max_length)
    collate = PaddingCollator(artifact.tokenizer, "cpu")
    rows = []
    for tokens, bucket in _buckets(ids).items():
        for size in _BATCHES:
            chosen = bucket[:size]
            batch = collate([{"input_ids": row} for row in chosen])
            expected, found = original.backend(batch), candidate.backend(batch)
            difference = float(np.abs(expected - found).max())
            same = _answers(original, expected) == _answers(original, found)
            if not difference <= TOLERANCE or not same.all():
                raise GateError(
                    f"parity gate: expected logits within {TOLERANCE:g} of torch's and the same "
                    f"labels, found a difference of {difference:.2g} and {(~same).sum()} other "
                    f"labels in a batch of {len(chosen)} with {tokens} tokens: nothing was exported"
                )
            rows.append(
                {
                    "tokens": tokens,
                    "batch": size,
                    "messages": len(chosen),
                    "largest_difference": difference,
                }
            )
    return rows


def _buckets(ids: Sequence[list[int]]) -> dict[str, list[list[int]]]:
    """Return up to 32 messages of each bucket of lengths that has any, and of all lengths."""
    order = sorted(ids, key=len)
    low, found = 0, {}
    for longest in _LONGEST:
        bucket = [row for row in order if low < len(row) <= longest]
        if bucket:
            found[f"up to {longest}"] = bucket[-max(_BATCHES) :]
        low = longest
    # Evenly over the lengths, the longest first.
    spread = np.linspace(len(order) - 1, 0, min(max(_BATCHES), len(order))).round().astype(int)
    return {**found, "mixed": [order[at] for at in spread]}


def _answers(classifier: SmsClassifier, logits: Floats) -> NDArray[np.int64]:
    temperature = classifier.artifact.manifest.calibration.temperature
    return classifier.answers(softmax(logits / temperature, axis=-1))


class Quality(NamedTuple):
    """What a form scores on the validation split: ``numbers`` by name, and its logits.

    ``calibration`` has the thresholds that the numbers were measured with.
    """

    numbers: dict[str, float]
    logits: Floats
    calibration: Calibration


def measure_quality(
    classifier: SmsClassifier, validation: Labelled, *, own_thresholds: bool
) -> Quality:
    """Return ``macro_f1``, ``ece`` and, by each operating point in force, ``recall of NAME``.

    With ``own_thresholds`` the points are fitted to this form's scores, each within its budget:
    under the run's thresholds a form that scores higher stops more messages than the budget allows.
    """
    manifest = classifier.artifact.manifest
    calibration = manifest.calibration
    logits = classifier.logits(validation.texts)
    probabilities = softmax(logits / calibration.temperature, axis=-1)
    if own_thresholds:
        compared = calibration.checkpoints_compared
        fitted = [
            _fitted_again(point, probabilities, validation, classifier.labels, compared)
            for point in calibration.operating_points
        ]
        calibration = calibration.model_copy(update={"operating_points": fitted})
        manifest = manifest.model_copy(update={"calibration": calibration})
        classifier = classifier.with_manifest(manifest)
    scores = compute_metrics(
        probabilities, validation.truth, classifier.labels, label_bias=calibration.label_bias
    )
    points = observed_points(probabilities, validation, classifier)
    recalls = {
        f"recall of {point['name']}": point["observed"]["recall"]
        for point in points
        if point["observed"].get("recall") is not None
    }
    numbers = {"macro_f1": scores["macro_f1"], "ece": scores["ece"], **recalls}
    return Quality(numbers, logits, calibration)


def _fitted_again(
    point: OperatingPoint,
    probabilities: Floats,
    validation: Labelled,
    labels: LabelMap,
    checkpoints_compared: int,
) -> OperatingPoint:
    """Return a point of the run with the threshold that other probabilities ask for."""
    if point.threshold is None:
        return point
    section = OperatingPointConfig(
        labels=point.labels,
        confidence=point.confidence,
        # What the run's own band took is the most that another may.
        review_share=point.validation.get("review_share") or 0.0,
        **point.budget,
    )
    guarded = np.isin(validation.truth, labels.ids_of(point.labels, point.name))
    scores = point_scores(probabilities, point, labels)
    scored = Scored(scores, guarded, validation.groups)
    return choose_operating_point(point.name, section, scored, checkpoints_compared)


def compare_quality(
    original: Quality, candidate: Quality, section: ExportConfig
) -> list[dict[str, Any]]:
    """Return a row for each number: ``original``, ``exported``, the ``budget``, ``kept`` or not."""
    rows = []
    for name, before in original.numbers.items():
        # A point that finds no threshold within its budget stops nothing.
        after = candidate.numbers.get(name, 0.0)
        budget, worse = {
            "macro_f1": (section.max_macro_f1_loss, before - after),
            "ece": (section.max_ece_rise, after - before),
        }.get(name, (section.max_recall_loss, before - after))
        # What is only rounding in the sum of a score is no loss.
        kept = worse <= budget + 1e-12
        rows.append(
            {"name": name, "original": before, "exported": after, "budget": budget, "kept": kept}
        )
    return rows


def broken(rows: Sequence[dict[str, Any]]) -> str:
    """Return the numbers that were not kept, as one line; empty if all were."""
    return "; ".join(
        f"{row['name']} {row['original']:.4f} became {row['exported']:.4f}, "
        f"budget {row['budget']:g}"
        for row in rows
        if not row["kept"]
    )


def layers_to_keep(
    layers: Sequence[str],
    measure: Callable[[list[str]], Quality],
    original: Quality,
    section: ExportConfig,
) -> list[str]:
    """Return layers that make a form pass if they stay in fp32: one, or as few as were found.

    ``measure`` makes the form with these layers in fp32 and scores it. Each layer is tried alone.
    Where none is enough, they are added one by one, those first that alone brought the logits
    nearest.
    """
    alone = {layer: measure([layer]) for layer in layers}
    near = sorted(layers, key=lambda layer: _distance(alone[layer], original))
    for layer in near:
        if not broken(compare_quality(original, alone[layer], section)):
            return [layer]
    for count in range(2, len(near)):
        if not broken(compare_quality(original, measure(near[:count]), section)):
            return near[:count]
    return near


def _distance(one: Quality, other: Quality) -> float:
    return float(np.abs(one.logits - other.logits).mean())
