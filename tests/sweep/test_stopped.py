"""A sweep that is stopped or killed ends, started again, as one that was not."""

from __future__ import annotations

import signal

import pytest
from safetensors.torch import load_file
from sweeps import EPOCHS, loaded, started, stopped_at_first_checkpoint, sweep


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
