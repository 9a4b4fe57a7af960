"""A search by optuna: trials, pruning, and trials whose process is gone."""

from __future__ import annotations

import os
import subprocess
import sys

import optuna
import psutil
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from sweeps import loaded, sweep

from smstune.config.loading import load_config
from smstune.config.schema import SweepConfig
from smstune.sweep.search import JOURNAL, next_trial, open_study, train_trial

SPACE = {
    "training.weight_decay": {"low": 0.001, "high": 0.1, "log": True},
    "training.gradient_accumulation_steps": {"low": 1, "high": 4},
    "model.pooling": {"choices": ["cls", "mean"]},
}
SECTION = SweepConfig(seeds=[3], space=SPACE, n_trials=2)


@pytest.fixture
def folder(tmp_path):
    """Return an empty folder of a sweep."""
    path = tmp_path / "sweep"
    path.mkdir()
    return path


def test_a_space_is_searched_and_its_best_compared_with_the_configuration(
    config_file, folder, trained
):
    section = {"seeds": [3, 4], "space": SPACE, "n_trials": 2}
    assert sweep(config_file, folder, section) == 0
    result = loaded(folder)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    best = max(result.trials, key=lambda trial: trial.validation_macro_f1)
    name = f"trial-{best.number}"
    # The first seed of the best trial was trained in the search.
    assert trained == ["trial-0-3", "trial-1-3", "base-3", "base-4", f"{name}-4"]
    assert [variant.name for variant in result.variants] == ["base", name]
    run = result.variants[1].runs[0]
    assert run.validation_macro_f1 == best.validation_macro_f1
    config = load_config(folder / run.folder / "config.yaml")
    assert config.training.weight_decay == best.parameters["training.weight_decay"]
    assert config.model.pooling == best.parameters["model.pooling"]
    study = open_study(folder / JOURNAL)
    trial = study.trials[0]
    assert trial.intermediate_values.keys() == {1}
    assert trial.distributions == {
        "training.weight_decay": FloatDistribution(0.001, 0.1, log=True),
        "training.gradient_accumulation_steps": IntDistribution(1, 4),
        "model.pooling": CategoricalDistribution(["cls", "mean"]),
    }
    # Another space is another sweep; more trials are the same one.
    other = {**section, "space": {"loss.tau": {"low": 0, "high": 1}}}
    trained.clear()
    assert sweep(config_file, folder, other, "loss.name=logit_adjusted") == 2
    assert trained == []


def parameters_of_trials(folder, stopped):
    """Return what three trials set, if optuna is left after each of ``stopped``."""
    section = SECTION.model_copy(update={"n_trials": 3})
    while (number := next_trial(folder, section)) is not None:
        if number in stopped:
            end_process_of(folder, number)
            assert next_trial(folder, section) == number
        open_study(folder / JOURNAL).tell(number, number / 10)
    return [trial.params for trial in open_study(folder / JOURNAL).trials]


def end_process_of(folder, number):
    """Let a running trial be that of a process that has ended."""
    study = open_study(folder / JOURNAL)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        started = psutil.Process(process.pid).create_time()
    trial = optuna.Trial(study, study.trials[number]._trial_id)
    trial.set_user_attr("pid", process.pid)
    trial.set_user_attr("process_started", started)


def test_a_search_that_was_stopped_samples_as_one_that_was_not(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    whole, stopped = (
        parameters_of_trials(folder, numbers)
        for folder, numbers in zip(folders, ([], [0, 2]), strict=True)
    )
    assert whole == stopped
    assert whole[0] != whole[1]


def test_only_a_trial_whose_process_is_gone_is_taken_up(folder):
    assert next_trial(folder, SECTION) == 0
    # This process, which signed it, lives.
    assert next_trial(folder, SECTION) == 1
    assert next_trial(folder, SECTION) is None
    study = open_study(folder / JOURNAL)
    assert study.trials[0].user_attrs["pid"] == os.getpid()
    # A process of another machine cannot be looked at.
    end_process_of(folder, 1)
    optuna.Trial(study, study.trials[1]._trial_id).set_user_attr("host", "elsewhere")
    assert next_trial(folder, SECTION) is None
    # Its number now belongs to another process.
    optuna.Trial(study, study.trials[0]._trial_id).set_user_attr("process_started", 1.0)
    assert next_trial(folder, SECTION) == 0


def test_a_trial_below_the_median_is_pruned(config_file, folder, tmp_path, capsys, finished_run):
    study = open_study(folder / JOURNAL)
    for _ in range(5):
        study.add_trial(create_trial(value=1.0, intermediate_values={1: 1.0, 2: 1.0}))
    number = next_trial(folder, SECTION.model_copy(update={"n_trials": 6}))
    (tmp_path / "run.yaml").write_text(f"extends: {finished_run / 'config.yaml'}\n")
    config = load_config(tmp_path / "run.yaml", [f"training.output_dir={tmp_path / 'run'}"])
    train_trial(config, folder / JOURNAL, number)
    trial = open_study(folder / JOURNAL).trials[number]
    assert trial.state is TrialState.PRUNED
    # After the first of two epochs.
    assert trial.intermediate_values.keys() == {1}
    assert not (tmp_path / "run/manifest.json").exists()
