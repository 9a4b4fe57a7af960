"""A run folder is whole or not there, whenever the process that writes it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from doors import ROOT, TINY_OVERRIDES, run
from safetensors.torch import load_file

from smstune.files import SCRATCH_SUFFIX
from smstune.training import finetune as stage

RESUME = "training.resume_from_checkpoint=true"
#: Fine-tunes in a process that is killed when a file of the name given is put into the run folder.
KILLED = """
import os, signal, sys
from pathlib import Path
from doors import script

name, output, *arguments = sys.argv[1:]
replace = Path.replace

def killed(path, target):
    if Path(target) == Path(output) / name:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

Path.replace = killed
script("finetune")([*arguments, f"training.output_dir={output}"])
"""


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def files_of(folder):
    """Return the names of all files and folders but those of a tracker."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {name for name in names if not name.startswith("logs")}


def same_run(left, right):
    weights, expected = (load_file(folder / "model.safetensors") for folder in (left, right))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert manifest_of(left)["calibration"] == manifest_of(right)["calibration"]
    assert files_of(left) == files_of(right)


def test_a_run_killed_while_its_files_are_put_in_place_is_resumed(
    finished_run, config_file, tmp_path
):
    output = tmp_path / "run"
    words = [sys.executable, "-c", KILLED, "model.safetensors", output, config_file]
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("train", "tests"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    call = [str(word) for word in (*words, *TINY_OVERRIDES)]
    done = subprocess.run(call, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (output / "config.json").is_file()
    assert not (output / "manifest.json").exists()
    arguments = (*TINY_OVERRIDES, f"training.output_dir={output}", RESUME)
    assert run("finetune", config_file, *arguments) == 0
    same_run(output, finished_run)


def test_a_run_that_was_not_calibrated_is_not_finished(
    finished_run, config_file, tmp_path, monkeypatch
):
    output = tmp_path / "run"
    arguments = (*TINY_OVERRIDES, f"training.output_dir={output}")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "SmsClassifier", killed)
        assert run("finetune", config_file, *arguments) == 130
    assert not (output / "manifest.json").exists()
    assert run("finetune", config_file, *arguments, RESUME) == 0
    assert manifest_of(output)["calibration"]["fitted_on"]
    same_run(output, finished_run)


@pytest.fixture
def trained(finished_run, tmp_path):
    """Return what a run leaves that is killed after its last checkpoint, before it is saved."""
    shutil.copytree(finished_run / "checkpoints", tmp_path / "run/checkpoints")
    return tmp_path / "run"


def resume(config_file, output):
    arguments = (*TINY_OVERRIDES, f"training.output_dir={output}", RESUME)
    return run("finetune", config_file, *arguments)


def test_a_resumed_run_removes_what_the_killed_one_left(finished_run, trained, config_file):
    best, _ = sorted((trained / "checkpoints").iterdir())
    # Whole ones that were to go, one that went in part, and scratch of ours.
    for step in (3, 7):
        shutil.copytree(best, trained / f"checkpoints/checkpoint-{step}")
    (trained / "checkpoints/checkpoint-3/optimizer.pt").unlink()
    for name in ("checkpoints/checkpoint-26/.complete.json", ".manifest.json"):
        (trained / f"{name}-x{SCRATCH_SUFFIX}/new").mkdir(parents=True)
    assert resume(config_file, trained) == 0
    same_run(trained, finished_run)


def test_a_resumed_run_knows_the_losses_of_all_its_steps(finished_run, trained, config_file):
    assert resume(config_file, trained) == 0
    losses = [manifest_of(folder)["training"]["train_loss"] for folder in (trained, finished_run)]
    assert losses[0] == losses[1] > 0
    state = json.loads((trained / "trainer_state.json").read_text("utf-8"))
    steps = [row["step"] for row in state["log_history"] if "loss" in row]
    # Each row is of the steps since the one before: after a kill no step may be lost.
    per_epoch = state["max_steps"] // 2
    assert steps == [1, per_epoch, 20, 2 * per_epoch]


def test_a_run_that_was_moved_before_it_is_resumed_keeps_its_best_checkpoint(
    finished_run, config_file, tmp_path
):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("finetune", config_file, *TINY_OVERRIDES, f"training.output_dir={first}") == 0
    second.mkdir()
    (first / "checkpoints").rename(second / "checkpoints")
    assert resume(config_file, second) == 0
    same_run(second, finished_run)


def test_a_finished_run_is_refused_without_scratch(finished_run, tmp_path, config_file):
    output = shutil.copytree(finished_run, tmp_path / "run")
    (output / f".manifest.json-x{SCRATCH_SUFFIX}/new").mkdir(parents=True)
    assert resume(config_file, output) == 2
    same_run(output, finished_run)
