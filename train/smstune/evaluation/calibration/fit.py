"""Calibration: fitted on validation, kept in the manifest, applied by SmsClassifier."""

from __future__ import annotations

import logging

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from smstune.arrays import Floats, Ints
from smstune.config.schema import EvaluationConfig
from smstune.evaluation.calibration.operating_points import choose_operating_point
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
from smstune.inference.decision import Calibration, Fit, FitScores, biased_labels
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import Manifest, store_calibration

#: Bounded: if every validation answer is right, the best temperature would be 0.
_TEMPERATURES = (0.2, 5.0)
#: What a linear model's scores may be multiplied by, once the temperature has been applied.
_WEIGHTS = (0.0, 20.0)
_BIASES = tuple(sorted(np.linspace(-2, 2, 17).tolist(), key=abs))
#: Smallest gain in macro-F1 for a shift to be accepted.
_MIN_GAIN = 0.002

logger = logging.getLogger(__name__)


def calibrate_run(classifier: SmsClassifier, section: EvaluationConfig) -> Manifest:
    """Fit a run's calibration (``fit_run``), store it in the run folder; return the new manifest.

    Raises:
        UserError: as ``fit_run``.
    """
    run = classifier.run
    return store_calibration(run.path, run.manifest, fit_run(classifier, section))


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
    for point in calibration.operating_points:
        if point.reason is not None:
            logger.warning("warning: operating point %s: %s", point.name, point.reason)
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
    scores of a ``linear`` model, also the weight at which they are added to the logits.
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


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """Return the temperature in [0.2, 5] of the least log loss.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The loss is convex in its
    inverse, so a bounded search in one dimension finds it.
    """

    def loss(inverse: float) -> float:
        return float(-log_softmax(logits * inverse, 1)[np.arange(len(truth)), truth].mean())

    low, high = _TEMPERATURES
    best = minimize_scalar(
        loss, bounds=(1 / high, 1 / low), method="bounded", options={"xatol": 1e-5}
    )
    return float(1 / best.x)


def fit_weight(logits: Floats, linear: Floats, truth: Ints) -> tuple[float, float]:
    """Return the temperature in [0.2, 5] and the weight of least log loss.

    That is of ``(logits + weight * linear) / temperature``, a product of experts (Hinton, "Training
    products of experts by minimizing contrastive divergence", 2002, equation 1) whose exponents are
    fitted: a logistic regression on two numbers, so convex.
    """
    rows = np.arange(len(truth))

    def loss(factors: Floats) -> float:
        joined = factors[0] * logits + factors[1] * linear
        return float(-log_softmax(joined, 1)[rows, truth].mean())

    low, high = _TEMPERATURES
    best = minimize(loss, [1.0, 1.0], method="L-BFGS-B", bounds=[(1 / high, 1 / low), _WEIGHTS])
    inverse, factor = best.x.tolist()
    return 1 / inverse, factor / inverse


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
