"""Calibration: fitted on validation, kept in the manifest, applied by SmsClassifier."""

from __future__ import annotations

import logging

import numpy as np
from scipy.special import log_softmax

from smstune.arrays import Floats, Ints
from smstune.config.schema import EvaluationConfig
from smstune.evaluation.calibration.cascade import fit_cascade
from smstune.evaluation.calibration.operating_points import choose_operating_point
from smstune.evaluation.calibration.temperature import fit_temperature, fit_weight
from smstune.evaluation.evaluated import LabelledSet, with_answers
from smstune.evaluation.labelled import load_prepared
from smstune.evaluation.scores.costs import cost_matrix
from smstune.evaluation.scores.metrics import (
    check_probabilities,
    expected_calibration_error,
    headline,
)
from smstune.evaluation.scores.ranking import measured_groups
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import (
    Calibration,
    Fit,
    FitScores,
    biased_labels,
    with_early_answers,
)
from smstune.inference.labels import LabelMap

_BIASES = tuple(sorted(np.linspace(-2, 2, 17).tolist(), key=abs))
#: Smallest gain in macro-F1 for a shift to be accepted.
_MIN_GAIN = 0.002
#: Simulated at 94 % right answers: 90 % of the temperatures fitted to 29 independent messages lie
#: between 0.13 and 1.64 times the true one, and to 100 between 0.51 and 1.37 times
#: (docs/experiments.md). Near-copies in a campaign add little.
_FEW_CAMPAIGNS = 100

logger = logging.getLogger(__name__)


def fit_run(classifier: SmsClassifier, section: EvaluationConfig) -> Calibration:
    """Return a run's calibration, fitted on the validation split of its data.

    The backend must be torch, because the exported forms reuse this calibration. Neither reads nor
    writes the run folder.

    Raises:
        UserError: if the run, its data or the section do not fit, or the scores are not finite.
    """
    check_section(section, classifier.labels)
    manifest = classifier.run.manifest
    validation = load_prepared(manifest, classifier.labels, "validation")
    logits, linear = classifier.parts(validation.texts)
    calibration = fit_calibration(
        logits,
        validation,
        classifier.labels,
        section,
        checkpoints_compared=manifest.calibration.checkpoints_compared,
        linear=linear if classifier.run.linear is not None else None,
    )
    if validation.campaigns < _FEW_CAMPAIGNS:
        logger.warning(
            "warning: the probabilities are calibrated on only %d campaigns (%d messages) of "
            "validation, so they may be far too sure or too unsure: below %d, do not rely on them "
            "as such; add labelled messages",
            validation.campaigns,
            len(validation.truth),
            _FEW_CAMPAIGNS,
        )
    for point in calibration.operating_points:
        if point.reason is not None:
            logger.warning("warning: operating point %s: %s", point.name, point.reason)
    if calibration.cascade is not None and calibration.cascade.reason is not None:
        logger.warning("warning: no cascade: %s", calibration.cascade.reason)
    return calibration


def check_section(section: EvaluationConfig, labels: LabelMap) -> None:
    """Check that all labels in the evaluation section exist.

    Raises:
        UserError: naming those that do not.
    """
    for name, point in section.operating_points.items():
        labels.ids_of(point.labels, f"evaluation.operating_points.{name}")
    measured_groups(labels, section.groups)
    cost_matrix(section.costs, labels)


def fit_calibration(
    logits: Floats,
    validation: LabelledSet,
    labels: LabelMap,
    section: EvaluationConfig,
    *,
    checkpoints_compared: int = 1,
    linear: Floats | None = None,
) -> Calibration:
    """Return temperature, label biases and operating points fitted to labelled logits.

    The logits are of the best of ``checkpoints_compared``, chosen on the same messages. With the
    scores of a ``linear`` model, also the weight at which they are added to the logits, and the
    cascade if ``section`` has one. The operating points are fitted to the probabilities that the
    cascade gives.
    """
    truth = validation.truth
    check_probabilities(logits, truth, len(labels.names))
    before, weight, joined = np.exp(log_softmax(logits, 1)), 0.0, logits
    if linear is None:
        temperature = fit_temperature(logits, truth)
    else:
        temperature, weight = fit_weight(logits, linear, truth)
        joined = logits + weight * linear
    after = np.exp(log_softmax(joined / temperature, 1))
    bias = fit_label_bias(after, truth) if section.label_bias else []
    evaluated = with_answers(validation, after, biased_labels(after, bias))
    cascade = None
    if section.cascade is not None and linear is not None:
        cascade = fit_cascade(section.cascade, evaluated, linear, bias, checkpoints_compared)
        after = with_early_answers(after, linear, cascade)
        evaluated = with_answers(validation, after, biased_labels(after, bias))
    points = [
        choose_operating_point(
            name,
            point,
            evaluated,
            labels.ids_of(point.labels, f"evaluation.operating_points.{name}"),
            checkpoints_compared,
        )
        for name, point in section.operating_points.items()
    ]
    return Calibration(
        temperature=temperature,
        linear_weight=weight,
        label_bias=bias,
        cascade=cascade,
        operating_points=points,
        checkpoints_compared=checkpoints_compared,
        fitted_on=Fit(
            split=validation.name,
            messages=len(truth),
            campaigns=validation.campaigns,
            before=_fit_scores(before, truth, []),
            after=_fit_scores(after, truth, bias),
        ),
    )


def fit_label_bias(probabilities: Floats, truth: Ints) -> list[float]:
    """Return for each label what is added to its log-probability for the best macro-F1.

    Coordinate search, two rounds, from -2 to 2 in steps of 0.25, smallest shifts first; another
    shift is taken only if macro-F1 rises by more than 0.002. Overfits labels with few messages, so
    it is off by default.
    """
    bias = [0.0] * probabilities.shape[1]
    best = headline(truth, biased_labels(probabilities, bias))["macro_f1"]
    for _ in range(2):
        for label in range(len(bias)):
            for shift in _BIASES:
                tried = [*bias[:label], shift, *bias[label + 1 :]]
                score = headline(truth, biased_labels(probabilities, tried))["macro_f1"]
                if score > best + _MIN_GAIN:
                    bias, best = tried, score
    return bias


def _fit_scores(probabilities: Floats, truth: Ints, bias: list[float]) -> FitScores:
    rows = np.arange(len(truth))
    answers = biased_labels(probabilities, bias)
    return FitScores(
        nll=float(-np.log(probabilities[rows, truth].clip(1e-12)).mean()),
        ece=expected_calibration_error(probabilities[rows, answers], answers == truth),
        macro_f1=headline(truth, answers)["macro_f1"],
    )
