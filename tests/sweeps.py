"""Sweeps of the tiny encoder, through their door."""

from __future__ import annotations

import json

from doors import TINY_OVERRIDES, run

from smstune.sweep.results import SweepResult

ONE_EPOCH = (*TINY_OVERRIDES, "training.num_train_epochs=1")


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
