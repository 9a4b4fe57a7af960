"""From the finished runs of a sweep: the best variant, sweep.json, best.yaml and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from smstune.config.loading import dump_config
from smstune.config.schema import Config, SweepConfig
from smstune.errors import UserError
from smstune.evaluation.comparison.compare import Difference, compare_macro_f1
from smstune.evaluation.comparison.spread import Spread, spread_of_sets
from smstune.evaluation.evaluated import EvaluatedSet, load_predictions
from smstune.files import file_written_whole, write_json
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import LABELS, Manifest, load_manifest
from smstune.paths import user_path
from smstune.reporting.csv import render_csv
from smstune.reporting.html import render_html
from smstune.reporting.latex import render_latex
from smstune.reporting.markdown import render_markdown
from smstune.sweep.finished import FinishedRun
from smstune.sweep.plan import Variant, planned_runs
from smstune.sweep.processes import load_usage
from smstune.sweep.report import summary_table, sweep_report
from smstune.sweep.results import (
    SWEEP,
    FailedRun,
    RunResult,
    SweepResult,
    TrialResult,
    VariantResult,
)
from smstune.sweep.training import macro_f1

Split = Literal["validation", "test"]
#: The score that variants are chosen by.
_SCORE = "macro_f1"


@dataclass(frozen=True)
class _Scored:
    """On one split: each complete variant's spread, and the others' differences from the base."""

    spreads: dict[str, Spread]
    differences: list[Difference]


def summarise(
    section: SweepConfig,
    variants: Sequence[Variant],
    runs: Sequence[FinishedRun],
    *,
    failed: Sequence[FailedRun],
    trials: Sequence[TrialResult],
) -> Path:
    """Choose the best variant on validation, then read test, and write all files of the sweep.

    These are ``sweep.json``, whose path is returned, ``best.yaml``, ``report.html``, ``report.md``,
    and the table of the variants as ``table.csv`` and ``table.tex``.

    Raises:
        UserError: if no variant has all its runs, or the runs have different labels.
    """
    folder = section.output_dir
    broken = {run.variant for run in failed}
    complete = [variant for variant in variants if variant.name not in broken]
    if not complete:
        raise UserError("no variant has all its runs: see the errors above, and start again")
    labels = _labels(runs)
    validation = _score("validation", complete, runs, labels)
    best = max(complete, key=lambda variant: validation.spreads[variant.name].mean or 0.0)
    test = _score("test", complete, runs, labels)
    sweep = SweepResult(
        base=complete[0].name,
        best=best.name,
        seeds=section.seeds,
        variants=[
            VariantResult(
                name=variant.name,
                changes=list(variant.changes),
                runs=[
                    _run_result(folder, run) for run in runs if run.planned.variant == variant.name
                ],
                validation=validation.spreads.get(variant.name),
                test=test.spreads.get(variant.name),
            )
            for variant in variants
        ],
        validation=validation.differences,
        test=test.differences,
        failed=list(failed),
        trials=list(trials),
    )
    _write(folder, sweep, _config_of_best(best, section), runs)
    return folder / SWEEP


def _labels(runs: Sequence[FinishedRun]) -> LabelMap:
    first = LabelMap.load(runs[0].folder / LABELS)
    for run in runs:
        if LabelMap.load(run.folder / LABELS) != first:
            raise UserError(
                "expected the same labels in all runs, found others in {run} than in {first}",
                run=run.folder,
                first=runs[0].folder,
            )
    return first


def _score(
    split: Split, variants: Sequence[Variant], runs: Sequence[FinishedRun], labels: LabelMap
) -> _Scored:
    """Evaluate the runs of complete variants on a split, and compare each with the first."""
    sets_by_variant: dict[str, list[EvaluatedSet]] = {}
    for variant in variants:
        by_seed: dict[int, list[EvaluatedSet]] = {}
        for run in runs:
            if run.planned.variant == variant.name:
                macro_f1(run.folder, split, run.planned.config)
                predictions = run.folder / "eval" / split / "predictions.parquet"
                evaluated = load_predictions(predictions, labels)
                by_seed.setdefault(run.planned.seed, []).append(evaluated)
        sets_by_variant[variant.name] = [pooled(sets) for sets in by_seed.values()]
    spreads = {
        name: next(spread for spread in spread_of_sets(sets, labels) if spread.score == _SCORE)
        for name, sets in sets_by_variant.items()
    }
    return _Scored(spreads, compare_macro_f1(sets_by_variant, labels))


def pooled(sets: Sequence[EvaluatedSet]) -> EvaluatedSet:
    """Return the sets of a seed's folds as one: each message is answered by one fold's run."""
    if len(sets) == 1:
        return sets[0]
    return replace(
        sets[0],
        texts=[text for evaluated in sets for text in evaluated.texts],
        truth=np.concatenate([evaluated.truth for evaluated in sets]),
        groups=np.concatenate([evaluated.groups for evaluated in sets]),
        columns={
            name: [cell for evaluated in sets for cell in evaluated.columns[name]]
            for name in sets[0].columns
        },
        probabilities=np.concatenate([evaluated.probabilities for evaluated in sets]),
        answers=np.concatenate([evaluated.answers for evaluated in sets]),
    )


def _run_result(folder: Path, run: FinishedRun) -> RunResult:
    manifest: Manifest = load_manifest(run.folder)
    usage = load_usage(run.usage)
    of_fold = {} if run.planned.fold is None else {"fold": run.planned.fold}
    config = run.planned.config
    return RunResult(
        folder=str(run.folder.relative_to(folder)),
        seed=run.planned.seed,
        validation_macro_f1=macro_f1(run.folder, "validation", config),
        encoder_validation_macro_f1=manifest.training.best_validation_macro_f1,
        test_macro_f1=macro_f1(run.folder, "test", config),
        steps=manifest.training.steps,
        seconds=manifest.training.wall_seconds if usage is None else usage.seconds,
        peak_memory_gib=None if usage is None else usage.peak_memory_gib,
        **of_fold,
    )


def _config_of_best(best: Variant, section: SweepConfig) -> Config:
    """Return a configuration that is found from any folder and needs none of the sweep's files.

    With folds it is that of the first one.
    """
    config = planned_runs(best, section)[0].config
    output = section.output_dir / "best"
    training = config.training.model_copy(update={"output_dir": output})
    encoder = user_path(config.model.name_or_path)
    model = config.model
    if encoder.exists():
        model = model.model_copy(update={"name_or_path": str(encoder.resolve())})
    return config.model_copy(update={"training": training, "model": model})


def _write(folder: Path, sweep: SweepResult, best: Config, runs: Sequence[FinishedRun]) -> None:
    folders: Mapping[str, list[Path]] = {
        variant.name: [run.folder for run in runs if run.planned.variant == variant.name]
        for variant in sweep.variants
    }
    report, table = sweep_report(sweep, folders), summary_table(sweep)
    for name, text in (
        ("best.yaml", dump_config(best)),
        ("report.html", render_html(report)),
        ("report.md", render_markdown(report)),
        ("table.csv", render_csv(table)),
        ("table.tex", render_latex(table)),
    ):
        with file_written_whole(folder / name) as path:
            path.write_text(text, "utf-8")
    write_json(folder / SWEEP, sweep.to_json())
