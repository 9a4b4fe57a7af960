"""A labelled sheet in, the run's operating points with the thresholds that it certifies out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from smstune.errors import UserError
from smstune.evaluation.calibration.operating_points import corrected_confidence, measure_point
from smstune.evaluation.drift.certification import (
    Budget,
    LabelledBlock,
    Tested,
    certify,
    step_to_take,
)
from smstune.evaluation.evaluated import evaluate_set
from smstune.evaluation.labelled import load_prepared
from smstune.evaluation.recalibration.draw import scored_by
from smstune.evaluation.recalibration.sheet import About, FilledSheet, SheetPoint
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Certificate, OperatingPoint
from smstune.tables.times import CHINA


@dataclass(frozen=True)
class CertifiedPoint:
    """An operating point after its labels were read, and the thresholds that were tested for it.

    ``step`` is the threshold that ``point`` has moved to; ``None`` if it is the old point.
    """

    point: OperatingPoint
    budget: Budget
    tested: tuple[Tested, ...]
    step: Tested | None


def require_same_run(path: Path, about: About, classifier: SmsClassifier) -> None:
    """Check that a sheet was written for this run, form and calibration.

    Raises:
        UserError: if it was not.
    """
    if about.scored_by != scored_by(classifier.run.manifest, about.form):
        raise UserError(
            "{path} was written for another run than {run}, or the run was calibrated, certified "
            "or exported since: name that run, or draw a new sheet",
            path=path,
            run=classifier.run.path,
        )


def certify_points(classifier: SmsClassifier, sheet: FilledSheet) -> list[CertifiedPoint]:
    """Return the run's operating points of a sheet, each with the lowest threshold that passed.

    The validation split is scored again, so that a moved point says what it does to it.

    Raises:
        UserError: if the run's data does not fit.
    """
    manifest, labels = classifier.run.manifest, classifier.labels
    calibration = manifest.calibration
    validation = evaluate_set(classifier, load_prepared(manifest, labels, "validation"))
    confidence_of = {
        point.name: corrected_confidence(point.confidence, calibration.checkpoints_compared)
        for point in calibration.operating_points
    }
    points = {point.name: point for point in calibration.operating_points}
    now = datetime.now(CHINA).isoformat(timespec="microseconds")
    certified = []
    for sheet_point in sheet.about.points:
        point = points[sheet_point.name]
        label_ids = labels.ids_of(point.labels, point.name)
        (kind, limit), *_ = point.budget.items()
        budget = Budget(
            kind=kind,
            limit=limit,
            confidence=point.confidence,
            campaigns=sheet.about.campaigns,
            negatives=sheet_point.negatives,
        )
        tested = tuple(certify(budget, _labelled_blocks(sheet_point, sheet, label_ids)))
        step = step_to_take(tested, point.threshold, sheet_point.thresholds[-1])
        if step:
            moved = _moved(point, sheet_point, step, sheet.about, now)
            scores = measure_point(moved, validation, label_ids, confidence_of[point.name])
            point = moved.model_copy(update={"validation": scores})
        certified.append(CertifiedPoint(point=point, budget=budget, tested=tested, step=step))
    return certified


def _labelled_blocks(
    sheet_point: SheetPoint, sheet: FilledSheet, label_ids: Sequence[int]
) -> list[LabelledBlock]:
    ranks = [sheet_point.rank(row) for row in range(len(sheet.label_ids))]
    drawn = [(rank, label) for rank, label in zip(ranks, sheet.label_ids, strict=True)]
    blocks = []
    for number, threshold in enumerate(sheet_point.thresholds):
        reached = [label for rank, label in drawn if rank is not None and rank <= number]
        blocks.append(
            LabelledBlock(
                threshold=threshold,
                blocked=sheet_point.blocked[number],
                drawn=len(reached),
                wrong=sum(label not in label_ids for label in reached),
            )
        )
    return blocks


def _moved(
    point: OperatingPoint, sheet_point: SheetPoint, step: Tested, about: About, now: str
) -> OperatingPoint:
    block = step.block
    number = sheet_point.thresholds.index(block.threshold)
    is_rate = "max_false_positive_rate" in point.budget
    certificate = Certificate(
        messages=about.messages,
        time=now,
        campaigns=about.campaigns,
        blocked=block.blocked,
        drawn=block.drawn,
        wrong=block.wrong,
        negatives=sheet_point.negatives if is_rate else None,
        bound=step.bound,
        confidence=point.confidence,
        seed=about.seed,
        replaces=point,
    )
    return point.model_copy(
        update={
            "threshold": block.threshold,
            "review_from": sheet_point.review_from[number],
            "reason": None,
            "certified": certificate,
        }
    )
