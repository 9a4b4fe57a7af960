"""Mean and spread of the scores of several runs of one recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smstune.errors import UserError
from smstune.evaluation.comparison.compare import (
    SeedScores,
    load_sets,
    mean_draws,
    seed_errors,
    values_by_seed,
)
from smstune.evaluation.evaluated import EvaluatedSet, set_name
from smstune.evaluation.scores.bootstrap import interval
from smstune.evaluation.scores.results import Bounds
from smstune.inference.labels import LabelMap
from smstune.language import Message
from smstune.reporting.document import Table
from smstune.reporting.format import interval_text
from smstune.results import Result


class Spread(Result):
    """A score of several runs: each one's value, their mean, standard deviation and interval.

    ``sd`` is that of the sample and ``None`` for a single run. ``ci`` is a 95 % interval of the
    mean: over campaigns by a bootstrap and, from two runs on, over seeds by Student's t.
    """

    score: str
    values: list[float | None]
    mean: float | None
    sd: float | None
    ci: Bounds | None


class RunSpread(Result):
    """The spread of each score of ``runs`` on the evaluation ``name``."""

    name: str
    runs: list[str]
    n: int
    campaigns: int
    scores: list[Spread]


def spread_of_runs(runs: str, *, name: str = "test", draws: int = 5000, seed: int = 0) -> RunSpread:
    """Return mean and spread of ``A,B,C``, runs of one recipe, from their evaluations ``name``.

    Raises:
        UserError: if there is only one run, one was not evaluated, or the data of two differ.
    """
    loaded = load_sets([runs], name)
    (sets,) = loaded.sets_by_run.values()
    if len(sets) < 2:
        raise UserError(
            "expected two runs or more to compare, found {n_runs}: give A B to compare B with A, "
            "or A,B for mean and spread",
            n_runs=len(sets),
        )
    return RunSpread(
        name=name,
        runs=runs.split(","),
        n=len(sets[0].truth),
        campaigns=sets[0].campaigns,
        scores=spread_of_sets(sets, loaded.labels, draws=draws, seed=seed),
    )


def spread_of_sets(
    sets: Sequence[EvaluatedSet], labels: LabelMap, *, draws: int = 5000, seed: int = 0
) -> list[Spread]:
    """Return the spread of macro-F1, of the parents' and of each label's F1, of a set per seed."""
    drawn = mean_draws(sets, labels, draws, seed)
    rng = np.random.default_rng(seed)
    spreads = []
    for path, values in values_by_seed(sets, labels).items():
        means = drawn[path] + seed_errors([values], rng, draws)
        # A score is a share; Student's t knows no bounds.
        finite = means[np.isfinite(means)].clip(0, 1)
        spreads.append(_spread(".".join(path), values, interval(finite) if len(finite) else None))
    return spreads


def _spread(score: str, values: SeedScores, ci: Bounds | None) -> Spread:
    numbers = [number for number in values if number is not None]
    complete = len(numbers) == len(values)
    return Spread(
        score=score,
        values=values,
        mean=float(np.mean(numbers)) if complete else None,
        sd=float(np.std(numbers, ddof=1)) if complete and len(numbers) > 1 else None,
        ci=ci if complete else None,
    )


def spread_table(spread: RunSpread) -> Table:
    """Return a row for each score: mean, standard deviation, interval and each run's value."""
    head = [
        Message("metric"),
        Message("mean"),
        Message("standard deviation"),
        Message("95 %"),
        *(Message("run {number}", number=number + 1) for number in range(len(spread.runs))),
    ]
    rows = [
        [row.score, row.mean, row.sd, interval_text(row.ci), *row.values] for row in spread.scores
    ]
    return Table(head, rows)


def spread_title(spread: RunSpread) -> Message:
    """Return what was measured, on how many messages, and in which order the runs are."""
    return Message(
        "{set_name}: {n_messages:,} messages, {n_campaigns:,} campaigns; runs in this order: "
        "{runs}",
        set_name=set_name(spread.name),
        n_messages=spread.n,
        n_campaigns=spread.campaigns,
        runs=", ".join(spread.runs),
    )
