"""Is one run better than another? Paired over the campaigns that both answered."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
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

logger = logging.getLogger(__name__)

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

    ``seeds`` is the number of seeds of each run, by its name. ``labels_left_out`` are those that
    not every run has; a message of such a label is not compared.
    """

    name: str
    n: int
    campaigns: int
    draws: int
    seeds: dict[str, int]
    labels_left_out: list[str]


@dataclass(frozen=True)
class LoadedRuns:
    """The evaluated sets of each run, with the ids of ``labels``: all that any run has."""

    sets_by_run: dict[str, list[EvaluatedSet]]
    labels: LabelMap
    labels_left_out: list[str]


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

    ``A,B,C`` are runs of one recipe, whose scores are averaged; see ``compare_sets``. Runs of
    different labels are compared on the messages of the labels that all of them have; another
    label may still be the answer to one of these, and is wrong.

    Raises:
        UserError: if a run was not evaluated, the data of two differ, or all have fewer than two
            labels in common.
    """
    if len(runs) < 2:
        raise UserError("expected two runs or more to compare, found {n_runs}", n_runs=len(runs))
    loaded = load_sets(runs, name)
    sets_by_run, labels = loaded.sets_by_run, loaded.labels
    first = next(iter(sets_by_run.values()))[0]
    differences = compare_sets(sets_by_run, labels, draws=draws, seed=seed)
    left_out = {f"per_label.{label}.f1" for label in loaded.labels_left_out}
    return Comparison(
        name=name,
        n=len(first.truth),
        campaigns=first.campaigns,
        draws=draws,
        seeds={run: len(sets) for run, sets in sets_by_run.items()},
        overall=differences.overall,
        per_label=[row for row in differences.per_label if row.score not in left_out],
        labels_left_out=loaded.labels_left_out,
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
    reference, *runs = sets_by_run
    overall: list[tuple[str, _Uncorrected]] = []
    per_label: list[tuple[str, _Uncorrected]] = []
    differences = _differences(sets_by_run, labels, draws, seed)
    for run in runs:
        if len(sets_by_run[reference]) == len(sets_by_run[run]) == 1:
            overall.append((run, _mcnemar(sets_by_run[reference][0], sets_by_run[run][0])))
        for path, uncorrected in differences[run].items():
            (per_label if path[0] == "per_label" else overall).append((run, uncorrected))
    return Differences(
        overall=_corrected(reference, overall), per_label=_corrected(reference, per_label)
    )


def compare_macro_f1(
    sets_by_run: Mapping[str, Sequence[EvaluatedSet]],
    labels: LabelMap,
    *,
    draws: int = 5000,
    seed: int = 0,
) -> list[Difference]:
    """Compare macro-F1 alone, as ``compare_sets`` does; p is corrected for the number of runs."""
    reference = next(iter(sets_by_run))
    differences = _differences(sets_by_run, labels, draws, seed)
    path = ("macro_f1",)
    return _corrected(reference, [(run, rows[path]) for run, rows in differences.items()])


def _differences(
    sets_by_run: Mapping[str, Sequence[EvaluatedSet]], labels: LabelMap, draws: int, seed: int
) -> dict[str, dict[ScorePath, _Uncorrected]]:
    """Return the difference of each compared score of each run but the first."""
    drawn = {run: mean_draws(sets, labels, draws, seed) for run, sets in sets_by_run.items()}
    values = {run: values_by_seed(sets, labels) for run, sets in sets_by_run.items()}
    rng = np.random.default_rng(seed)
    reference, *runs = sets_by_run
    differences: dict[str, dict[ScorePath, _Uncorrected]] = {run: {} for run in runs}
    for run in runs:
        for path in drawn[reference]:
            by_seed = values[reference][path], values[run][path]
            drawn_differences = drawn[run][path] - drawn[reference][path]
            drawn_differences = drawn_differences + seed_errors(by_seed, rng, draws)
            differences[run][path] = _difference(".".join(path), drawn_differences, *by_seed)
    return differences


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


def mean_draws(
    sets: Sequence[EvaluatedSet], labels: LabelMap, draws: int, seed: int
) -> dict[ScorePath, Floats]:
    """Return the mean over ``sets`` of each compared score in each draw of campaigns."""
    by_seed = [bootstrap_scores(evaluated, labels, draws=draws, seed=seed) for evaluated in sets]
    return {path: np.mean([drawn[path] for drawn in by_seed], axis=0) for path in _compared(labels)}


def _mean(by_seed: SeedScores) -> float | None:
    measured = [value for value in by_seed if value is not None]
    return float(np.mean(measured)) if len(measured) == len(by_seed) else None


def seed_errors(by_seed: Sequence[SeedScores], rng: np.random.Generator, draws: int) -> Floats:
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


def values_by_seed(sets: Sequence[EvaluatedSet], labels: LabelMap) -> dict[ScorePath, SeedScores]:
    """Return each compared score of each set."""
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
    """Return the labels of the first of the compared runs, with titles.

    Raises:
        UserError: if it has no ``labels.json``.
    """
    return LabelMap.load(_folders(runs[0])[0] / LABELS)


def _folders(run: str) -> list[Path]:
    """Return the folders that ``RUN[,RUN...]`` names; a folder may have a comma in its name."""
    names = [run] if user_path(run).is_dir() else run.split(",")
    return [user_path(name) for name in names]


def load_sets(runs: Sequence[str], name: str) -> LoadedRuns:
    """Return the answers of runs, each ``RUN[,RUN...]``, to the messages that all answered.

    Raises:
        UserError: if a run was not evaluated, the data of two differ, or all have fewer than two
            labels in common.
    """
    folders_by_run = {run: _folders(run) for run in runs}
    if len(folders_by_run) < len(runs):
        raise UserError("expected different runs to compare, found one twice")
    folders = list(dict.fromkeys(chain.from_iterable(folders_by_run.values())))
    own_labels = {folder: _labels(folder) for folder in folders}
    labels = _all_labels(list(own_labels.values()))
    shared = [
        label for label in labels.names if all(label in own.label2id for own in own_labels.values())
    ]
    if len(shared) < 2:
        raise UserError(
            "expected at least two labels that all runs have, found {n_shared}: compare runs of "
            "the same task",
            n_shared=len(shared),
        )
    sets_by_folder = {
        folder: _with_labels(_load(folder, name, own_labels[folder]), own_labels[folder], labels)
        for folder in folders
    }
    left_out = [label for label in labels.names if label not in shared]
    if left_out:
        logger.info("labels that not every run has, left out: %s", ", ".join(left_out))
        shared_ids = [labels.label2id[label] for label in shared]
        sets = _on_shared_messages(list(sets_by_folder.values()), shared_ids)
        sets_by_folder = dict(zip(folders, sets, strict=True))
    reference = sets_by_folder[folders[0]]
    for folder, evaluated in sets_by_folder.items():
        _require_same_messages(evaluated, reference, folder, folders[0])
    return LoadedRuns(
        {run: [sets_by_folder[folder] for folder in its] for run, its in folders_by_run.items()},
        labels,
        left_out,
    )


def _labels(run: Path) -> LabelMap:
    manifest = load_manifest(run)
    return LabelMap.from_names(manifest.labels, manifest.parents)


def _all_labels(maps: Sequence[LabelMap]) -> LabelMap:
    """Return the labels of all maps, those of the first in front; parents if every label has one.

    A label's parent is the first that a map gives it.
    """
    parents: dict[str, str | None] = {}
    for labels in maps:
        for label, parent in zip(labels.names, labels.parents, strict=True):
            parents.setdefault(label, parent)
    return LabelMap.from_names(parents, parents.values() if all(parents.values()) else None)


def _load(run: Path, name: str, labels: LabelMap) -> EvaluatedSet:
    path = run / "eval" / name / "predictions.parquet"
    if not path.is_file():
        raise UserError(
            "expected the answers of {run} at {path}, found none: run `smstune eval {run}` first",
            run=run,
            path=path,
        )
    return load_predictions(path, labels)


def _with_labels(evaluated: EvaluatedSet, own: LabelMap, labels: LabelMap) -> EvaluatedSet:
    """Return a set with the ids of ``labels``, among which are all of its own labels."""
    new_ids = np.array([labels.label2id[label] for label in own.names])
    probabilities = np.zeros((len(evaluated.truth), len(labels.names)))
    probabilities[:, new_ids] = evaluated.probabilities
    return replace(
        evaluated,
        truth=new_ids[evaluated.truth],
        answers=new_ids[evaluated.answers],
        probabilities=probabilities,
    )


def _on_shared_messages(
    sets: Sequence[EvaluatedSet], shared_ids: Sequence[int]
) -> list[EvaluatedSet]:
    """Return each set's rows of the messages that are in all sets under the same shared label.

    They are in the order of the first set and have its campaigns: a message more may join two.
    """
    rows_by_set = [_rows_by_message(evaluated, set(shared_ids)) for evaluated in sets]
    first = rows_by_set[0]
    messages = [message for message in first if all(message in rows for rows in rows_by_set)]
    if not messages:
        raise UserError(
            "expected messages that all runs were evaluated on, found none: evaluate them on the "
            "same data"
        )
    n_most = max(map(len, rows_by_set))
    if len(messages) < n_most:
        logger.warning(
            "warning: of %d messages of the labels that all runs have, %d have an answer and the "
            "same label in every run: only these are compared",
            n_most,
            len(messages),
        )
    groups = sets[0].groups[[first[message] for message in messages]]
    return [
        replace(evaluated.take([rows[message] for message in messages]), groups=groups)
        for evaluated, rows in zip(sets, rows_by_set, strict=True)
    ]


def _rows_by_message(
    evaluated: EvaluatedSet, label_ids: Collection[int]
) -> dict[tuple[str, int, int], int]:
    """Return the row of each message of some labels: by text, label and the number of the copy."""
    copies: Counter[tuple[str, int]] = Counter()
    rows = {}
    for row, (text, label_id) in enumerate(
        zip(evaluated.texts, evaluated.truth.tolist(), strict=True)
    ):
        if label_id in label_ids:
            rows[text, label_id, copies[text, label_id]] = row
            copies[text, label_id] += 1
    return rows


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
