"""`SweepResult`: what a sweep measured, as ``sweep.json`` holds it."""

from __future__ import annotations

from pydantic import Field

from smstune.evaluation.comparison.compare import Difference
from smstune.evaluation.comparison.spread import Spread
from smstune.results import Result

FORMAT_VERSION = 1
SWEEP = "sweep.json"
#: Keys of the configuration, with values of JSON's types.
Parameters = dict[str, bool | int | float | str | None]


class RunResult(Result):
    """A finished run: its folder below the sweep's, its scores, its time and memory.

    ``encoder_validation_macro_f1`` is that of the encoder alone, without the linear model.
    ``seconds`` include evaluation and all attempts, but not what a killed sweep could not count;
    for a run that was there before it is its training's. Memory is ``None`` for such a run.
    """

    folder: str
    seed: int
    fold: int | None = None
    validation_macro_f1: float
    encoder_validation_macro_f1: float | None
    test_macro_f1: float
    steps: int
    seconds: float
    peak_memory_gib: float | None


class FailedRun(Result):
    """A run whose process ended without a finished run, and its exit status."""

    variant: str
    seed: int
    fold: int | None = None
    status: int


class VariantResult(Result):
    """A variant: its overrides, its runs, and the spread of macro-F1 over its seeds.

    The spreads are ``None`` where a run failed.
    """

    name: str
    changes: list[str]
    runs: list[RunResult]
    validation: Spread | None
    test: Spread | None


class TrialResult(Result):
    """A trial of a search: what it set, its state, and its macro-F1 on validation if it ended."""

    number: int
    state: str
    parameters: Parameters
    validation_macro_f1: float | None


class SweepResult(Result):
    """``sweep.json``: all that a sweep measured.

    ``best`` is the variant of the highest mean macro-F1 on validation. ``validation`` and ``test``
    are the differences of macro-F1 of each other variant from ``base``, with p corrected by Holm.
    """

    format_version: int = FORMAT_VERSION
    base: str
    best: str
    seeds: list[int]
    variants: list[VariantResult]
    validation: list[Difference]
    test: list[Difference]
    failed: list[FailedRun]
    trials: list[TrialResult] = Field(default=[])
