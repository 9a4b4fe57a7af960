"""A sweep: trains what is not trained yet, then chooses on validation and reads test."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from smstune.config.choices import Engine
from smstune.config.loading import dump_config
from smstune.config.schema import SweepConfig
from smstune.errors import UserError
from smstune.files import file_written_whole
from smstune.sweep.finished import FinishedRun, find_finished
from smstune.sweep.plan import ConfigSource, PlannedRun, Variant, override, planned_runs
from smstune.sweep.processes import run_process
from smstune.sweep.results import FailedRun, Parameters, TrialResult

logger = logging.getLogger(__name__)


def usage_file(folder: Path, run: PlannedRun) -> Path:
    """Return the file of a sweep's folder that holds time and memory of a run."""
    return folder / "usage" / f"{run.folder.name}.json"


def run_sweep(
    source: ConfigSource,
    section: SweepConfig,
    variants: Sequence[Variant],
    engine: Engine = "local",
) -> Path:
    """Train every run of a sweep and return the path of its ``sweep.json``.

    Finished runs in the folder are used; an unfinished one is resumed. Each run has a process of
    its own; one that fails does not stop the others. With a space, its trials come first, and the
    variants become the configuration itself and the best trial. The engine ``ray`` trains several
    runs at once on the cluster that is connected to.

    Raises:
        UserError: if no variant has all its runs.
        Interrupted: if a signal came; the run that was trained has left a checkpoint.
    """
    folder = section.output_dir.resolve()
    section = section.model_copy(update={"output_dir": folder})
    trials: list[TrialResult] = []
    if section.space is not None:
        trials = _search(source, section, engine)
        variants = [*variants, _best_trial(source, trials)]
    runs = [run for variant in variants for run in planned_runs(variant, section)]
    folders = [find_finished(run) for run in runs]
    missing = [run for run, run_folder in zip(runs, folders, strict=True) if run_folder is None]
    statuses = _train_runs(folder, missing, engine)
    finished: list[FinishedRun] = []
    failed: list[FailedRun] = []
    for number, (run, run_folder) in enumerate(zip(runs, folders, strict=True)):
        logger.info("run %d of %d: %s", number + 1, len(runs), run.folder.name)
        if run_folder is not None:
            logger.info("finished before: %s", run_folder)
        elif status := next(statuses):
            logger.error("%s failed with status %d: see above", run.folder.name, status)
            failed.append(_failed(run, status))
            continue
        finished.append(FinishedRun(run, run_folder or run.folder, usage_file(folder, run)))
    # Imports torch, whose memory would be counted as a child's.
    from smstune.sweep.summary import summarise

    return summarise(section, variants, finished, failed=failed, trials=trials)


def _failed(run: PlannedRun, status: int) -> FailedRun:
    of_fold = {} if run.fold is None else {"fold": run.fold}
    return FailedRun(variant=run.variant, seed=run.seed, status=status, **of_fold)


def _train_runs(folder: Path, runs: Sequence[PlannedRun], engine: Engine) -> Iterator[int]:
    """Yield the exit status of each run; the engine ``local`` trains it when it is asked for."""
    if engine == "ray":
        from smstune.sweep.on_ray import call_on_ray

        yield from call_on_ray(train_run, [(folder, run) for run in runs])
    else:
        yield from (train_run(folder, run) for run in runs)


def train_run(folder: Path, run: PlannedRun, trial: Sequence[str] = ()) -> int:
    """Train a run in a process of its own and return its exit status.

    ``trial`` are the words that make it a trial of a search.

    Raises:
        Interrupted: if a signal came.
    """
    config_file = folder / "configs" / f"{run.folder.name}.yaml"
    with file_written_whole(config_file) as scratch:
        scratch.write_text(dump_config(run.config), "utf-8")
    words = ["smstune.sweep.child", str(config_file), *trial]
    return run_process(words, usage_file(folder, run))


def run_trials(source: ConfigSource, section: SweepConfig) -> None:
    """Run trials of a search until there are ``n_trials``; several processes may share them."""
    from smstune.sweep.search import JOURNAL, next_trial, open_study, tell_failed

    folder = section.output_dir
    while (number := next_trial(folder, section)) is not None:
        study = open_study(folder / JOURNAL)
        changes = _overrides(study.trials[number].params)
        logger.info("trial %d of %d: %s", number + 1, section.n_trials, " ".join(changes))
        variant = _trial_variant(number, source, changes)
        run = planned_runs(variant, section)[0]
        status = train_run(folder, run, ["--trial", str(folder / JOURNAL), str(number)])
        if status:
            logger.error("trial %d failed with status %d: see above", number, status)
            tell_failed(study, number)


def _search(source: ConfigSource, section: SweepConfig, engine: Engine) -> list[TrialResult]:
    """Run trials until there are ``n_trials``, and return all.

    Raises:
        UserError: if other processes are still at work on some, or no trial ended with a score.
    """
    from smstune.sweep.search import JOURNAL, open_study

    if engine == "ray":
        from smstune.sweep.on_ray import call_on_ray, n_calls_at_once

        call_on_ray(run_trials, [(source, section)] * n_calls_at_once())
    else:
        run_trials(source, section)
    trials = [
        TrialResult(
            number=trial.number,
            state=trial.state.name.lower(),
            parameters=trial.params,
            validation_macro_f1=trial.value,
        )
        for trial in open_study(section.output_dir / JOURNAL).trials
    ]
    running = [str(trial.number) for trial in trials if trial.state == "running"]
    if running:
        raise UserError(
            "trials {numbers} still run in other processes: the last one to end writes the "
            "report; if they are gone, start the sweep again",
            numbers=", ".join(running),
        )
    return trials


def _trial_variant(number: int, source: ConfigSource, changes: Sequence[str]) -> Variant:
    return Variant(f"trial-{number}", changes, source.load(changes))


def _overrides(parameters: Parameters) -> list[str]:
    return [override(key, setting) for key, setting in parameters.items()]


def _best_trial(source: ConfigSource, trials: Sequence[TrialResult]) -> Variant:
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        raise UserError("no trial of the search ended with a score: see the errors above")
    best = max(complete, key=lambda trial: trial.validation_macro_f1 or 0.0)
    return _trial_variant(best.number, source, _overrides(best.parameters))
