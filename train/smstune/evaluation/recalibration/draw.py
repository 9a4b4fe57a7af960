"""New messages without labels in, proposed thresholds and the campaigns to label out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smstune.arrays import Ints
from smstune.errors import UserError
from smstune.evaluation.calibration.operating_points import review_band
from smstune.evaluation.drift.certification import Budget
from smstune.evaluation.drift.label_mix import (
    CampaignAnswers,
    LabelMix,
    count_cells,
    estimate_mix,
)
from smstune.evaluation.drift.mixture_fit import MixtureFit, fit_mixture
from smstune.evaluation.drift.proposals import (
    Proposal,
    WeighedCampaigns,
    draw_campaigns,
    highest_scores,
    propose,
)
from smstune.evaluation.evaluated import EvaluatedSet, evaluate_set
from smstune.evaluation.labelled import load_new, load_prepared
from smstune.evaluation.recalibration.sheet import About, SheetPoint, reached_letters
from smstune.files import json_digest
from smstune.inference.backends.exported import EXPORTED
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import OperatingPoint
from smstune.inference.label_names import list_names
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import WEIGHTS, Manifest
from smstune.tables.options import TableOptions
from smstune.text.pii.mask import mask_pii

#: How many campaigns may be drawn for a point.
FEWEST, MOST = 50, 200
#: What a form is called that is not exported.
TORCH = "torch"
_SEED = 0
#: Resampling fewer validation campaigns of a component says little about others like them.
_FEWEST_OF_VALIDATION = 20


@dataclass(frozen=True)
class Estimate:
    """What a run's answers say of new messages.

    ``validation_shares`` are the shares of the components of ``mix`` on validation.
    """

    validation: EvaluatedSet
    new: EvaluatedSet
    mix: LabelMix
    validation_shares: tuple[float, ...]
    fit: MixtureFit


@dataclass(frozen=True)
class DrawnPoint:
    """An operating point, what is proposed for it, and the campaigns to label, if any.

    Without a proposal, no threshold is estimated to keep the budget. Without campaigns, not even
    labels without an error would show that one does.
    """

    point: OperatingPoint
    proposal: Proposal | None
    campaigns: tuple[int, ...] = ()


def estimate_new(classifier: SmsClassifier, path: str, options: TableOptions) -> Estimate:
    """Score messages of ``[SOURCE:]PATH`` and the validation split; estimate the new label mix.

    Raises:
        UserError: if the run has no operating points, or its data or the messages do not fit.
    """
    manifest, labels = classifier.run.manifest, classifier.labels
    points = manifest.calibration.operating_points
    if not points:
        raise UserError(
            "{run} has no operating points, so it has no threshold to move: fit some with "
            "`smstune eval {run} --calibrate evaluation.operating_points=...`",
            run=classifier.run.path,
        )
    messages, _ = load_new(path, labels, classifier.preprocess, options)
    validation = evaluate_set(classifier, load_prepared(manifest, labels, "validation"))
    new = evaluate_set(classifier, messages)
    guarded = [labels.ids_of(point.labels, point.name) for point in points]
    histograms = count_cells(CampaignAnswers.of(validation), CampaignAnswers.of(new), guarded)
    sizes = histograms.validation.sum(axis=1)
    if sizes.min() < _FEWEST_OF_VALIDATION:
        rarest = np.flatnonzero(histograms.component == sizes.argmin()).tolist()
        raise UserError(
            "validation has only {n_campaigns:,} campaigns of {labels}: {n_needed} are needed to "
            "compare new messages with; prepare and train with more messages of these labels",
            n_campaigns=int(sizes.min()),
            labels=list_names(labels.names[label_id] for label_id in rarest),
            n_needed=_FEWEST_OF_VALIDATION,
        )
    return Estimate(
        validation=validation,
        new=new,
        mix=estimate_mix(histograms),
        validation_shares=tuple((sizes / sizes.sum()).tolist()),
        fit=fit_mixture(histograms),
    )


def draw_points(
    estimate: Estimate, points: Sequence[OperatingPoint], labels: LabelMap, number: int
) -> list[DrawnPoint]:
    """Return what is proposed for each operating point, with at most ``number`` campaigns to label.

    All points draw in one random order of the campaigns, so that they share what they can.
    """
    order = np.random.default_rng(_SEED).permutation(estimate.new.campaigns)
    return [_drawn(estimate, point, labels, number, order) for point in points]


def _drawn(
    estimate: Estimate, point: OperatingPoint, labels: LabelMap, number: int, order: Ints
) -> DrawnPoint:
    label_ids = labels.ids_of(point.labels, point.name)
    (kind, limit), *_ = point.budget.items()
    budget = Budget(
        kind=kind,
        limit=limit,
        confidence=point.confidence,
        campaigns=estimate.new.campaigns,
        # The other half of what may fail is spent on the labels.
        negatives=1 - estimate.mix.bound_of(label_ids, 1 - (1 - point.confidence) / 2),
    )
    validation = WeighedCampaigns.of(estimate.validation, label_ids, estimate.mix)
    highest = highest_scores(estimate.new, label_ids)
    proposal = propose(budget, validation, highest, point.threshold)
    if proposal is None:
        return DrawnPoint(point, None)
    campaigns = draw_campaigns(proposal, number, order)
    scores = proposal.highest[campaigns]
    can_pass = any(
        budget.bound(blocked, int((scores >= threshold).sum()), 0) <= budget.largest
        for threshold, blocked in zip(proposal.thresholds, proposal.blocked, strict=True)
    )
    return DrawnPoint(point, proposal, tuple(campaigns.tolist()) if can_pass else ())


def make_sheet(
    classifier: SmsClassifier, estimate: Estimate, drawn: Sequence[DrawnPoint]
) -> tuple[About, list[str]]:
    """Return what a sheet is of, and its messages: of each drawn campaign, that which scores most.

    The messages are masked, also if the run is not.
    """
    new, labels = estimate.new, classifier.labels
    to_label = [row for row in drawn if row.campaigns]
    messages = [_highest_messages(new, row, labels) for row in to_label]
    rows = sorted({message for chosen in messages for message in chosen})
    # Sorted by score or by campaign, they would tell the labeller what the run answers.
    rows = np.random.default_rng(_SEED).permutation(np.array(rows, dtype=np.int64)).tolist()
    points = [
        _sheet_point(new, row, labels, [chosen.get(message) for message in rows])
        for row, chosen in zip(to_label, messages, strict=True)
    ]
    about = About(
        scored_by=scored_by(classifier.run.manifest, form_name(classifier)),
        form=form_name(classifier),
        messages=new.name,
        campaigns=new.campaigns,
        seed=_SEED,
        points=tuple(points),
    )
    return about, [mask_pii(new.texts[message]) for message in rows]


def _highest_messages(
    new: EvaluatedSet, drawn: DrawnPoint, labels: LabelMap
) -> dict[int, int | None]:
    """Return the message to label of each drawn campaign, and which threshold it reaches."""
    proposal = drawn.proposal
    if proposal is None:
        return {}
    scores = new.score_of(labels.ids_of(drawn.point.labels, drawn.point.name))
    _, campaigns = np.unique(new.groups, return_inverse=True)
    drawn_campaigns = set(drawn.campaigns)
    highest: dict[int, int] = {}
    for message in np.argsort(-scores, kind="stable").tolist():
        campaign = int(campaigns[message])
        if campaign in drawn_campaigns:
            highest.setdefault(campaign, message)
    thresholds = np.array(proposal.thresholds)
    return {
        message: int(np.flatnonzero(thresholds <= scores[message])[0])
        for message in highest.values()
    }


def _sheet_point(
    new: EvaluatedSet, drawn: DrawnPoint, labels: LabelMap, ranks: Sequence[int | None]
) -> SheetPoint:
    point, proposal = drawn.point, drawn.proposal
    if proposal is None:
        raise ValueError(f"no proposal for {point.name}")
    scores = new.score_of(labels.ids_of(point.labels, point.name))
    share = (point.on_validation and point.on_validation.review_share) or 0.0
    return SheetPoint(
        name=point.name,
        thresholds=proposal.thresholds,
        # As many messages as before go to a person.
        review_from=tuple(
            review_band(scores, threshold, share) for threshold in proposal.thresholds
        ),
        blocked=proposal.blocked,
        negatives=proposal.budget.negatives,
        reached=reached_letters(ranks),
    )


def form_name(classifier: SmsClassifier) -> str:
    """Return what scores the messages: ``torch``, or the exported file in ``onnx/``."""
    if classifier.backend.name == TORCH:
        return TORCH
    return EXPORTED[classifier.precision]


def scored_by(manifest: Manifest, form: str) -> str:
    """Return the SHA-256 of what scores and thresholds follow from: weights, form, calibration."""
    hashes = [manifest.sha256[WEIGHTS], manifest.sha256.get(f"onnx/{form}")]
    facts = [*hashes, form, manifest.calibration.model_dump(mode="json")]
    return json_digest(facts)
