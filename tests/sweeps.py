"""Sweeps of the tiny encoder, through their door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from doors import ROOT, TINY_OVERRIDES, run

from smstune.files import locked_folder
from smstune.sweep.results import SweepResult

ONE_EPOCH = (*TINY_OVERRIDES, "training.num_train_epochs=1")
#: A checkpoint in the middle of an epoch.
EPOCHS = ("training.num_train_epochs=4", "training.save_steps=4")


def sweep_words(config_file, folder, section, *overrides):
    """Return the arguments of `smstune sweep` with this section and one epoch."""
    section = json.dumps({"output_dir": str(folder), **section})
    return [str(config_file), *ONE_EPOCH, *overrides, f"sweep={section}"]


def sweep(config_file, folder, section, *overrides, flags=()):
    """Run a sweep in this process and return its exit status."""
    return run("sweep", *flags, *sweep_words(config_file, folder, section, *overrides))


def loaded(folder):
    """Return a sweep's results."""
    return SweepResult.model_validate_json((folder / "sweep.json").read_bytes())


def started(config_file, folder, section, flags=()):
    """Start a sweep of four epochs in a process of its own."""
    words = sweep_words(config_file, folder, section, *EPOCHS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/sweep.py", *flags, *words],
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
