"""A sweep that is stopped or killed ends, started again, as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from doors import ROOT
from safetensors.torch import load_file
from sweeps import loaded, sweep, sweep_words

from smstune.files import locked_folder

EPOCHS = ("training.num_train_epochs=4", "training.save_steps=4")


def started(config_file, folder, section):
    words = sweep_words(config_file, folder, section, *EPOCHS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/sweep.py", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stopped_at_first_checkpoint(process, run, number):
    """Send a sweep a signal in the middle of a run; return its status and what it said."""
    while not any(run.glob("checkpoints/checkpoint-*/complete.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate()
    # The training outlives a killed sweep until its checkpoint is written.
    with locked_folder(run):
        assert not (run / "manifest.json").exists()
    return process.returncode, said


def scores(folder):
    result = loaded(folder)
    return [
        (run.seed, run.validation_macro_f1, run.test_macro_f1, run.steps)
        for variant in result.variants
        for run in variant.runs
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_stopped_and_killed_and_started_again(config_file, tmp_path, trained):
    section = {"seeds": [1, 2]}
    folder, whole = tmp_path / "stopped", tmp_path / "whole"
    first, second = folder / "runs/base-1", folder / "runs/base-2"
    for run, number, expected in (
        (first, signal.SIGTERM, 143),
        (second, signal.SIGKILL, -signal.SIGKILL),
    ):
        status, said = stopped_at_first_checkpoint(
            started(config_file, folder, section), run, number
        )
        assert status == expected, said
    trained_once = (first / "manifest.json").read_bytes()
    process = started(config_file, folder, section)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "finished before" in said
    assert "resumed at step" in said
    assert (first / "manifest.json").read_bytes() == trained_once

    assert sweep(config_file, whole, section, *EPOCHS) == 0
    assert scores(folder) == scores(whole)
    for seed in section["seeds"]:
        left, right = (
            load_file(path / f"runs/base-{seed}/model.safetensors") for path in (folder, whole)
        )
        assert all((left[name] == right[name]).all() for name in right)
    usage = loaded(folder).variants[0].runs[0]
    assert usage.seconds > 0
    assert usage.peak_memory_gib > 0.1
