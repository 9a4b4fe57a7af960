"""Is one run better than another? Paired over the campaigns that both answered."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from smstune.arrays import Floats
from smstune.errors import UserError
from smstune.evaluation.comparison.significance import holm, mcnemar
from smstune.evaluation.labelled import Judged
from smstune.evaluation.scores.bootstrap import ScorePath, bootstrap_scores, interval
from smstune.evaluation.scores.metrics import compute_metrics
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import load_manifest
from smstune.reporting.format import show

_LEVEL = 0.05
#: A score of each seed; ``None`` where a seed has none.
Scores = list[float | None]
NO_DIFFERENCE = "no difference shown"


class Side(NamedTuple):
    """One side of a comparison: the runs of a recipe, which differ in their seed alone."""

    name: str
    seeds: list[Judged]


def compare_runs(
    runs: Sequence[str], *, name: str = "test", draws: int = 5000, seed: int = 0
) -> dict[str, Any]:
    """Compare each run with the first on the rows of ``RUN/eval/<name>/predictions.parquet``.

    ``A,B,C`` are runs of one recipe, whose scores are averaged; see ``compare_sides``.

    Raises:
        UserError: if a run was not evaluated, or the data or labels of two differ.
    """
    sides, labels = _load_sides(runs, name)
    first = sides[0].seeds[0]
    return {
        "name": name,
        "n": len(first.truth),
        "campaigns": len(np.unique(first.groups)),
        "draws": draws,
        "seeds": {side.name: len(side.seeds) for side in sides},
        **compare_sides(sides, labels, draws=draws, seed=seed),
    }


def compare_sides(
    sides: Sequence[Side], labels: LabelMap, *, draws: int = 5000, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows ``overall`` and ``per_label`` that compare each side with the first.

    Macro-F1 and each label's F1 by a paired bootstrap over campaigns, to which the spread between
    the seeds of a side is added: a recipe of several seeds stands for all of its seeds, a single
    run for itself. Where both sides are single runs also accuracy by McNemar's test over campaigns
    (exact: which run has more of a campaign right), which knows no spread between seeds. p values
    are corrected by Holm (1979), overall scores and labels apart; above 0.05 the verdict is
    ``NO_DIFFERENCE``.
    """
    drawn = [_mean_draws(side, labels, draws, seed) for side in sides]
    values = [_values_by_seed(side, labels) for side in sides]
    rng = np.random.default_rng(seed)
    overall: list[dict[str, Any]] = []
    per_label: list[dict[str, Any]] = []
    for at in range(1, len(sides)):
        if len(sides[0].seeds) == len(sides[at].seeds) == 1:
            overall.append(_mcnemar_row(sides[0], sides[at]))
        for path in drawn[0]:
            row = {"reference": sides[0].name, "run": sides[at].name, "score": ".".join(path)}
            by_seed = values[0][path], values[at][path]
            differences = drawn[at][path] - drawn[0][path]
            row |= _difference(differences + _seed_errors(by_seed, rng, draws), *by_seed)
            (per_label if path[0] == "per_label" else overall).append(row)
    for family in (overall, per_label):
        _correct(family)
    return {"overall": overall, "per_label": per_label}


def comparison_table(found: dict[str, Any]) -> Table:
    """Return the terminal table of a comparison."""
    seeds = ", ".join(f"{name} ({count})" for name, count in found["seeds"].items())
    grid = Table(
        title=f"{found['name']}: {found['n']:,} messages, {found['campaigns']:,} campaigns; runs "
        f"(seeds): {seeds}",
        title_justify="left",
    )
    for head in ("run", "score", "reference", "run's", "difference", "95 %", "p, Holm", "verdict"):
        grid.add_column(head)
    for family in (found["overall"], found["per_label"]):
        for row in family:
            bounds = row["ci"]
            grid.add_row(
                row["run"],
                row["score"],
                show(row["reference_value"]),
                show(row["value"]),
                show(row["difference"]),
                "–" if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}",
                show(row["p_holm"]),
                row["verdict"],
            )
        grid.add_section()
    return grid


def _mcnemar_row(reference: Side, side: Side) -> dict[str, Any]:
    answers = [one.seeds[0] for one in (reference, side)]
    right, other = (np.asarray(one.predicted == one.truth, dtype=float) for one in answers)
    only_reference, only_run, p = mcnemar(right, other, answers[0].groups)
    return {
        "reference": reference.name,
        "run": side.name,
        "score": "campaigns (McNemar)",
        "reference_value": only_reference,
        "value": only_run,
        "difference": only_run - only_reference,
        "ci": None,
        "p": p,
    }


def _difference(differences: Floats, reference_by_seed: Scores, by_seed: Scores) -> dict[str, Any]:
    """Return the difference of the means, its interval, and the p value of no difference."""
    differences = differences[np.isfinite(differences)]
    reference_value, value = _mean(reference_by_seed), _mean(by_seed)
    row: dict[str, Any] = {"reference_value": reference_value, "value": value}
    if reference_value is None or value is None or not len(differences):
        return {**row, "difference": None, "ci": None, "p": None, "reason": "no message of it"}
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    p = min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))
    return {
        **row,
        "difference": value - reference_value,
        "ci": interval(differences),
        "p": float(p),
    }


def _correct(rows: list[dict[str, Any]]) -> None:
    """Add Holm's p values and the verdicts; rows without a p value stay out of the count."""
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
        better = "better" if row["difference"] > 0 else "worse"
        row["verdict"] = better if p < _LEVEL and row["difference"] else NO_DIFFERENCE
    for row in rows:
        row.setdefault("p_holm", None)
        row.setdefault("verdict", NO_DIFFERENCE)


def _compared(labels: LabelMap) -> list[ScorePath]:
    coarse: list[ScorePath] = [("coarse", "macro_f1")] if labels.parent_names else []
    return [
        ("macro_f1",),
        *coarse,
        *(("per_label", label, "f1") for label in labels.names),
    ]


def _mean_draws(side: Side, labels: LabelMap, draws: int, seed: int) -> dict[ScorePath, Floats]:
    scores = [bootstrap_scores(run, labels, draws=draws, seed=seed) for run in side.seeds]
    return {path: np.mean([drawn[path] for drawn in scores], axis=0) for path in _compared(labels)}


def _mean(by_seed: Scores) -> float | None:
    measured = [value for value in by_seed if value is not None]
    return float(np.mean(measured)) if len(measured) == len(by_seed) else None


def _seed_errors(by_seed: Sequence[Scores], rng: np.random.Generator, draws: int) -> Floats:
    """Return draws of the error that a difference of means over so few seeds has.

    That is Student's t with the variance pooled over the sides ("The probable error of a mean",
    1908); drawing among three seeds themselves would be much too narrow. A single run stands for
    itself and adds nothing. What differs between campaigns from seed to seed is counted by the
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


def _values_by_seed(side: Side, labels: LabelMap) -> dict[ScorePath, Scores]:
    metrics: list[Any] = [
        compute_metrics(np.eye(len(labels.names))[run.predicted], run.truth, labels)
        for run in side.seeds
    ]
    return {
        path: [functools.reduce(operator.getitem, path, scores) for scores in metrics]
        for path in _compared(labels)
    }


def _load_sides(runs: Sequence[str], name: str) -> tuple[list[Side], LabelMap]:
    if len(runs) < 2:
        raise UserError(f"expected two runs or more to compare, found {len(runs)}")
    folders = {
        text: [Path(text)] if Path(text).is_dir() else [Path(part) for part in text.split(",")]
        for text in runs
    }
    if len(folders) < len(runs):
        raise UserError("expected different runs to compare, found one twice")
    first = folders[runs[0]][0]
    manifest = load_manifest(first)
    labels = LabelMap.from_names(manifest.labels, manifest.parents)
    rows = _rows(first, name)
    sides = [
        Side(text, [_load(folder, name, first, rows, labels) for folder in parts])
        for text, parts in folders.items()
    ]
    return sides, labels


def _rows(run: Path, name: str) -> Any:  # noqa: ANN401
    file = run / "eval" / name / "predictions.parquet"
    if not file.is_file():
        raise UserError(
            f"expected the answers of {run} at {file}, found none: run `smstune eval {run}` first"
        )
    return pq.read_table(file)


def _load(run: Path, name: str, first: Path, reference: Any, labels: LabelMap) -> Judged:  # noqa: ANN401
    manifest, table = load_manifest(run), _rows(run, name)
    if manifest.labels != list(labels.names):
        raise UserError(
            f"expected the labels of {first} in {run}, found {', '.join(manifest.labels)}: only "
            "runs with the same labels can be compared"
        )
    same = len(table) == len(reference) and all(
        table[column].equals(reference[column]) for column in ("text", "label", "group")
    )
    if not same:
        raise UserError(
            f"expected the messages and labels that {first} was evaluated on, found others in "
            f"{run}/eval/{name}: evaluate both on the same data"
        )
    ids = labels.label2id
    predicted, truth = (
        np.array([ids[label] for label in table[column].to_pylist()])
        for column in ("predicted", "label")
    )
    scores = np.array(table["scores"].to_pylist())
    return Judged(scores, predicted, truth, table["group"].to_numpy())
