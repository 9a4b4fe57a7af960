"""`Metrics`: everything that an evaluation measures, as ``metrics.json`` holds it."""

from __future__ import annotations

from pydantic import Field

from smstune.evaluation.calibration.operating_points import ObservedPoint
from smstune.evaluation.mistakes.attribution import ExplainedAnswer
from smstune.evaluation.robustness.suite import Robustness
from smstune.evaluation.scores.results import (
    Baseline,
    GateResult,
    Intervals,
    Reliability,
    Scores,
    SliceScores,
    Throughput,
)
from smstune.inference.cascade import Cascade
from smstune.inference.decision import OptionalFit
from smstune.inference.origin import Contamination
from smstune.results import Result


class CalibrationFacts(Result):
    """The current calibration, and the reliability of this set without and with it."""

    temperature: float
    linear_weight: float
    label_bias: list[float]
    #: Evaluations of earlier versions do not have it.
    checkpoints_compared: int = 1
    #: Where the run has a cascade: what it is, and which share of this set it answers early.
    cascade: Cascade | None = None
    early_share: float | None = None
    fitted_on: OptionalFit
    before: Reliability
    after: Reliability


class Metrics(Scores):
    """Scores, intervals, baseline and all else; ``robustness`` and ``explanations`` on request."""

    split: str
    ci: Intervals
    baseline: Baseline | None
    contamination: Contamination | None
    slices: list[SliceScores]
    operating_points: list[ObservedPoint]
    calibration: CalibrationFacts
    throughput: Throughput
    robustness: Robustness | None = None
    explanations: list[ExplainedAnswer] = Field(default=[])
    gates: list[GateResult]
    #: SHA-256 of ``predictions.parquet``, whose scores these are.
    predictions_sha256: str | None = None
