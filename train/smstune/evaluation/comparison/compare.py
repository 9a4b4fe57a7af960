"""Is one run better than another? Paired over the campaigns that both answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smstune.arrays import Floats
from smstune.errors import UserError
from smstune.evaluation.comparison.significance import holm, mcnemar
from smstune.evaluation.evaluated import EvaluatedSet, load_predictions, set_name
from smstune.evaluation.scores.bootstrap import ScorePath, bootstrap_scores, interval
from smstune.evaluation.scores.metrics import compute_scores
from smstune.evaluation.scores.results import Bounds
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import LABELS, load_manifest
from smstune.language import Message
from smstune.paths import user_path
from smstune.reporting.document import Table
from smstune.results import Result

_LEVEL = 0.05
#: A score of each seed; ``None`` where a seed has none.
SeedScores = list[float | None]
NO_DIFFERENCE = Message("no difference shown")
_MCNEMAR = Message("campaigns (McNemar)")


class Difference(Result):
    """A score of a run beside that of the reference, and whether they differ by more than chance.

    ``ci`` is the 95 % interval of the difference, ``p`` the p value of the null
    hypothesis "no difference"; ``reason`` says why a value is missing.
    """

    reference: str
    run: str
    score: str
    reference_value: float | None
    value: float | None
    difference: float | None
    ci: Bounds | None
    p: float | None
    reason: str | None = None
    p_holm: float | None
    verdict: str


class Differences(Result):
    """Differences of overall scores and of each label's F1; p is corrected within each list."""

    overall: list[Difference]
    per_label: list[Difference]


class Comparison(Differences):
    """Runs compared with the first of them on the evaluation ``name``.

    ``seeds`` is the number of seeds of each run, by its name.
    """

    name: str
    n: int
    campaigns: int
    draws: int
    seeds: dict[str, int]


@dataclass(frozen=True)
class _Uncorrected:
    """A difference before its p value is corrected."""

    score: str
    reference_value: float | None
    value: float | None
    difference: float | None = None
    ci: Bounds | None = None
    p: float | None = None
    reason: str | None = None


def compare_runs(
    runs: Sequence[str], *, name: str = "test", draws: int = 5000, seed: int = 0
) -> Comparison:
    """Compare each run with the first on the rows of ``RUN/eval/<name>/predictions.parquet``.

    ``A,B,C`` are runs of one recipe, whose scores are averaged; see ``compare_sets``.

    Raises:
        UserError: if a run was not evaluated, or the data or labels of two differ.
    """
    sets_by_run, labels = _load_sets(runs, name)
    first = next(iter(sets_by_run.values()))[0]
    differences = compare_sets(sets_by_run, labels, draws=draws, seed=seed)
    return Comparison(
        name=name,
        n=len(first.truth),
        campaigns=first.campaigns,
        draws=draws,
        seeds={run: len(sets) for run, sets in sets_by_run.items()},
        overall=differences.overall,
        per_label=differences.per_label,
    )


def compare_sets(
    sets_by_run: Mapping[str, Sequence[EvaluatedSet]],
    labels: LabelMap,
    *,
    draws: int = 5000,
    seed: int = 0,
) -> Differences:
    """Compare each run with the first; a run with several seeds has one evaluated set per seed.

    Macro-F1 and the F1 of each label are compared by a paired bootstrap over campaigns. For runs
    with several seeds, the variation between seeds is added; a result for a single run is about
    that run only. Two single runs are also compared by McNemar's exact test over campaigns (which
    run answers more messages of a campaign correctly), which does not include the variation between
    seeds. p values are corrected by Holm (1979), separately for overall scores and for labels;
    above 0.05 the verdict is ``NO_DIFFERENCE``.
    """
    drawn = {run: _mean_draws(sets, labels, draws, seed) for run, sets in sets_by_run.items()}
    values = {run: _values_by_seed(sets, labels) for run, sets in sets_by_run.items()}
    rng = np.random.default_rng(seed)
    reference, *runs = sets_by_run
    overall: list[tuple[str, _Uncorrected]] = []
    per_label: list[tuple[str, _Uncorrected]] = []
    for run in runs:
        if len(sets_by_run[reference]) == len(sets_by_run[run]) == 1:
            overall.append((run, _mcnemar(sets_by_run[reference][0], sets_by_run[run][0])))
        for path in drawn[reference]:
            by_seed = values[reference][path], values[run][path]
            differences = drawn[run][path] - drawn[reference][path]
            differences = differences + _seed_errors(by_seed, rng, draws)
            uncorrected = _difference(".".join(path), differences, *by_seed)
            (per_label if path[0] == "per_label" else overall).append((run, uncorrected))
    return Differences(
        overall=_corrected(reference, overall), per_label=_corrected(reference, per_label)
    )


def comparison_table(comparison: Comparison) -> Table:
    """Return the comparison as a table, overall scores first."""
    head = [
        Message("run"),
        Message("metric"),
        Message("reference"),
        Message("run's"),
        Message("difference"),
        Message("95 %"),
        Message("p, Holm"),
        Message("verdict"),
    ]
    rows = [
        [
            row.run,
            _MCNEMAR if row.score == _MCNEMAR else row.score,
            row.reference_value,
            row.value,
            row.difference,
            None
            if row.ci is None
            else Message("{low:+.3f} to {high:+.3f}", low=row.ci[0], high=row.ci[1]),
            row.p_holm,
            Message(row.verdict),
        ]
        for row in [*comparison.overall, *comparison.per_label]
    ]
    return Table(head, rows, text_columns=[Message("metric"), Message("verdict")])


def comparison_title(comparison: Comparison) -> Message:
    """Return what was compared, on how many messages."""
    seeds = ", ".join(f"{run} ({count})" for run, count in comparison.seeds.items())
    return Message(
        "{set_name}: {n_messages:,} messages, {n_campaigns:,} campaigns; runs (seeds): {seeds}",
        set_name=set_name(comparison.name),
        n_messages=comparison.n,
        n_campaigns=comparison.campaigns,
        seeds=seeds,
    )


def _mcnemar(reference: EvaluatedSet, run: EvaluatedSet) -> _Uncorrected:
    only_reference, only_run, p = mcnemar(
        reference.right.astype(float), run.right.astype(float), reference.groups
    )
    return _Uncorrected(
        score=_MCNEMAR,
        reference_value=only_reference,
        value=only_run,
        difference=only_run - only_reference,
        p=p,
    )


def _difference(
    score: str, differences: Floats, reference_by_seed: SeedScores, by_seed: SeedScores
) -> _Uncorrected:
    """Return the difference of the means, its interval, and the p value."""
    differences = differences[np.isfinite(differences)]
    reference_value, value = _mean(reference_by_seed), _mean(by_seed)
    if reference_value is None or value is None or not len(differences):
        return _Uncorrected(score, reference_value, value, reason="no message has this label")
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    return _Uncorrected(
        score,
        reference_value,
        value,
        difference=value - reference_value,
        ci=interval(differences),
        p=float(min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))),
    )


def _corrected(reference: str, uncorrected: Sequence[tuple[str, _Uncorrected]]) -> list[Difference]:
    """Return the differences with verdicts and p values corrected by Holm, where they have one."""
    p_values = iter(holm([row.p for _, row in uncorrected if row.p is not None]))
    differences = []
    for run, row in uncorrected:
        p_holm = None if row.p is None else next(p_values)
        verdict = NO_DIFFERENCE
        if p_holm is not None and p_holm < _LEVEL and row.difference:
            verdict = Message("better") if row.difference > 0 else Message("worse")
        values = asdict(row)
        if row.reason is None:
            del values["reason"]
        differences.append(
            Difference(reference=reference, run=run, **values, p_holm=p_holm, verdict=verdict)
        )
    return differences


def _compared(labels: LabelMap) -> list[ScorePath]:
    coarse: list[ScorePath] = [("coarse", "macro_f1")] if labels.parent_names else []
    return [
        ("macro_f1",),
        *coarse,
        *(("per_label", label, "f1") for label in labels.names),
    ]


def _mean_draws(
    sets: Sequence[EvaluatedSet], labels: LabelMap, draws: int, seed: int
) -> dict[ScorePath, Floats]:
    by_seed = [bootstrap_scores(evaluated, labels, draws=draws, seed=seed) for evaluated in sets]
    return {path: np.mean([drawn[path] for drawn in by_seed], axis=0) for path in _compared(labels)}


def _mean(by_seed: SeedScores) -> float | None:
    measured = [value for value in by_seed if value is not None]
    return float(np.mean(measured)) if len(measured) == len(by_seed) else None


def _seed_errors(by_seed: Sequence[SeedScores], rng: np.random.Generator, draws: int) -> Floats:
    """Return random draws of the sampling error of a difference of means over few seeds.

    That is Student's t with the variance pooled over the sides ("The probable error of a mean",
    1908); drawing among three seeds themselves would be much too narrow. A single run adds
    nothing. What differs between campaigns from seed to seed is counted by the
    bootstrap, too, so the sum is a little too wide.
    """
    measured = [[value for value in side if value is not None] for side in by_seed]
    repeated = [side for side in measured if len(side) > 1]
    freedom = sum(len(side) - 1 for side in repeated)
    if not freedom:
        return np.zeros(draws)
    variance = sum((len(side) - 1) * np.var(side, ddof=1) for side in repeated) / freedom
    error = math.sqrt(variance * sum(1 / len(side) for side in repeated))
    return rng.standard_t(freedom, size=draws) * error


def _values_by_seed(sets: Sequence[EvaluatedSet], labels: LabelMap) -> dict[ScorePath, SeedScores]:
    scores = [
        compute_scores(np.eye(len(labels.names))[evaluated.answers], evaluated.truth, labels)
        for evaluated in sets
    ]
    values: dict[ScorePath, SeedScores] = {("macro_f1",): [row.macro_f1 for row in scores]}
    if labels.parent_names:
        values["coarse", "macro_f1"] = [
            row.coarse.macro_f1 if row.coarse else None for row in scores
        ]
    for label in labels.names:
        values["per_label", label, "f1"] = [row.per_label[label].f1 for row in scores]
    return values


def first_run_labels(runs: Sequence[str]) -> LabelMap:
    """Return the labels of the first of the compared runs, which have the same ones, with titles.

    Raises:
        UserError: if it has no ``labels.json``.
    """
    return LabelMap.load(_folders(runs[0])[0] / LABELS)


def _folders(run: str) -> list[Path]:
    """Return the folders that ``RUN[,RUN...]`` names; a folder may have a comma in its name."""
    names = [run] if user_path(run).is_dir() else run.split(",")
    return [user_path(name) for name in names]


def _load_sets(runs: Sequence[str], name: str) -> tuple[dict[str, list[EvaluatedSet]], LabelMap]:
    if len(runs) < 2:
        raise UserError("expected two runs or more to compare, found {n_runs}", n_runs=len(runs))
    folders_by_run = {run: _folders(run) for run in runs}
    if len(folders_by_run) < len(runs):
        raise UserError("expected different runs to compare, found one twice")
    first = folders_by_run[runs[0]][0]
    manifest = load_manifest(first)
    labels = LabelMap.from_names(manifest.labels, manifest.parents)
    reference = _load(first, name, labels, first)
    sets_by_run = {
        run: [_load(folder, name, labels, first) for folder in folders]
        for run, folders in folders_by_run.items()
    }
    for run, sets in sets_by_run.items():
        for folder, evaluated in zip(folders_by_run[run], sets, strict=True):
            _require_same_messages(evaluated, reference, folder, first)
    return sets_by_run, labels


def _load(run: Path, name: str, labels: LabelMap, first: Path) -> EvaluatedSet:
    manifest = load_manifest(run)
    if manifest.labels != list(labels.names):
        raise UserError(
            "expected the labels of {first} in {run}, found {labels}: only "
            "runs with the same labels can be compared",
            first=first,
            run=run,
            labels=", ".join(manifest.labels),
        )
    path = run / "eval" / name / "predictions.parquet"
    if not path.is_file():
        raise UserError(
            "expected the answers of {run} at {path}, found none: run `smstune eval {run}` first",
            run=run,
            path=path,
        )
    return load_predictions(path, labels)


def _require_same_messages(
    evaluated: EvaluatedSet, reference: EvaluatedSet, run: Path, first: Path
) -> None:
    same = (
        evaluated.texts == reference.texts
        and np.array_equal(evaluated.truth, reference.truth)
        and np.array_equal(evaluated.groups, reference.groups)
    )
    if not same:
        raise UserError(
            "expected the messages and labels that {first} was evaluated on, found others in "
            "{run}/eval/{name}: evaluate both on the same data",
            first=first,
            run=run,
            name=evaluated.name,
        )
