"""A run folder is whole or not there, whenever the process that writes it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import torch
from doors import ROOT, TINY_OVERRIDES, run
from safetensors.torch import load_file

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


def same_run(left, right):
    weights, expected = (load_file(folder / "model.safetensors") for folder in (left, right))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert manifest_of(left)["calibration"] == manifest_of(right)["calibration"]
    files = [{path.name for path in folder.iterdir()} for folder in (left, right)]
    assert files[0] == files[1]


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
