"""Sweeps on a Ray cluster, which is started on this machine."""

from __future__ import annotations

import signal
import sys

import pytest
from doors import ROOT
from sweeps import EPOCHS, loaded, started, stopped_at_first_checkpoint, sweep


def test_ray_that_is_not_installed_is_named(config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    flags = ("--engine", "ray")
    assert sweep(config_file, tmp_path / "sweep", {"seeds": [1]}, flags=flags) == 2
    assert "pip install -c constraints.txt -e '.[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(config_file, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    flags = ("--engine", "ray")
    assert sweep(config_file, tmp_path / "sweep", {"seeds": [1]}, flags=flags) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: expected a Ray cluster at RAY_ADDRESS=nonsense")
    assert not (tmp_path / "sweep").exists()


@pytest.fixture
def cluster(monkeypatch):
    """Let the workers of a cluster import this checkout."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "train"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_scores_are_those_of_a_sweep_on_this_machine(cluster, config_file, tmp_path):
    section = {"seeds": [1, 2], "grid": {"base": [], "broken": ["training.learning_rate=1e30"]}}
    for engine in ("local", "ray"):
        folder = tmp_path / engine
        # The broken variant's runs fail, and the others are compared all the same.
        assert sweep(config_file, folder, section, flags=("--engine", engine)) == 2
    ours, theirs = (loaded(tmp_path / engine) for engine in ("local", "ray"))
    assert [(run.seed, run.status) for run in theirs.failed] == [
        (run.seed, run.status) for run in ours.failed
    ]
    assert [
        [(run.seed, run.validation_macro_f1, run.steps) for run in variant.runs]
        for variant in theirs.variants
    ] == [
        [(run.seed, run.validation_macro_f1, run.steps) for run in variant.runs]
        for variant in ours.variants
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_on_ray_runs_every_trial_once(cluster, config_file, tmp_path):
    pytest.importorskip("optuna")
    section = {
        "seeds": [1],
        "space": {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        "n_trials": 2,
    }
    assert sweep(config_file, tmp_path / "sweep", section, flags=("--engine", "ray")) == 0
    trials = loaded(tmp_path / "sweep").trials
    assert [(trial.number, trial.state) for trial in trials] == [(0, "complete"), (1, "complete")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_and_started_again(cluster, config_file, tmp_path):
    folder, section, flags = tmp_path / "sweep", {"seeds": [1]}, ("--engine", "ray")
    process = started(config_file, folder, section, flags)
    status, said = stopped_at_first_checkpoint(process, folder / "runs/base-1", signal.SIGTERM)
    assert status == 143, said
    process = started(config_file, folder, section, flags)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert sweep(config_file, tmp_path / "whole", section, *EPOCHS) == 0
    (ours,), (theirs,) = (loaded(tmp_path / name).variants[0].runs for name in ("whole", "sweep"))
    assert (theirs.steps, theirs.test_macro_f1) == (ours.steps, ours.test_macro_f1)
