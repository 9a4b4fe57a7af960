"""A run killed in each way goes on to the weights of a run that nobody touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from child import SendSignal, add_to_trainer
from doors import ROOT, TINY_OVERRIDES, run
from safetensors.torch import load_file

from smstune.training.interrupt import Interruption
from smstune.training.resume import checkpoint_to_resume

RESUME = "training.resume_from_checkpoint=true"


def same_weights(left, right):
    left, right = (load_file(folder / "model.safetensors") for folder in (left, right))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def train_loss(output):
    return json.loads((output / "manifest.json").read_text("utf-8"))["training"]["train_loss"]


def checkpoints(output):
    return {int(path.name.partition("-")[2]) for path in output.glob("checkpoints/checkpoint-*")}


def evaluations(output, step):
    text = (output / f"checkpoints/checkpoint-{step}/trainer_state.json").read_text("utf-8")
    return sum("eval_macro_f1" in row for row in json.loads(text)["log_history"])


def child(when, *arguments):
    """Return status and stderr of a fine-tune of its own process that is sent a signal."""
    words = [sys.executable, ROOT / "tests/child.py", when, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_killed_in_each_way_and_resumed(finished_run, config_file, tmp_path):
    output = tmp_path / "run"
    call = (config_file, *TINY_OVERRIDES, f"training.output_dir={output}", "training.save_steps=3")
    state = json.loads((finished_run / "trainer_state.json").read_text("utf-8"))
    per_epoch = state["max_steps"] // 2

    status, told = child("2:SIGINT", *call)
    assert status == 130
    assert told.count("Ctrl-C again stops at once") == 1
    assert told.count(RESUME) == 1
    assert told.endswith("error: interrupted\n")
    assert checkpoints(output) == {2}
    # The epoch was left in its middle: to judge it would change which model is the best.
    assert evaluations(output, 2) == 0

    status, told = child(f"{per_epoch}:SIGTERM", *call, RESUME)
    assert (status, RESUME in told) == (143, True)
    assert evaluations(output, per_epoch) == 1

    status, told = child(f"{per_epoch + 7}:SIGKILL", *call, RESUME)
    assert status == -signal.SIGKILL
    # Two are kept, the best among them; the steps since the last periodic one are lost.
    periodic = (per_epoch + 6) // 3 * 3
    assert checkpoints(output) == {per_epoch, periodic}
    whole = output / f"checkpoints/checkpoint-{periodic}"
    half = output / f"checkpoints/checkpoint-{periodic + 1}"
    shutil.copytree(whole, half, ignore=lambda *_: ["complete.json", "scheduler.pt"])
    assert checkpoint_to_resume(output, resume=True) == str(whole)

    assert run("finetune", *call, RESUME) == 0
    assert same_weights(output, finished_run)
    # The losses before each stop count, too, if in sums of other lengths.
    assert train_loss(output) == pytest.approx(train_loss(finished_run), rel=1e-6)
    assert half.name not in {path.name for path in (output / "checkpoints").iterdir()}


def test_every_file_of_a_checkpoint_must_be_whole(finished_run, tmp_path):
    run_folder = tmp_path / "run"
    shutil.copytree(finished_run / "checkpoints", run_folder / "checkpoints")
    older, newer = sorted(run_folder.glob("checkpoints/*"), key=lambda path: int(path.name[11:]))
    assert checkpoint_to_resume(run_folder, resume=True) == str(newer)
    files = sorted(newer.iterdir())
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth"} < {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        for damaged in (content[:-1], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            if path.name != "complete.json" or damaged is None:
                assert checkpoint_to_resume(run_folder, resume=True) == str(older), path
            path.write_bytes(content)
    assert checkpoint_to_resume(run_folder, resume=True) == str(newer)


def test_a_resumed_run_remembers_how_long_it_has_waited(config_file, tmp_path, monkeypatch):
    output = tmp_path / "run"
    call = (
        config_file,
        *TINY_OVERRIDES,
        "training.num_train_epochs=6",
        "training.learning_rate=1e-12",
        "training.early_stopping_patience=2",
        f"training.output_dir={output}",
    )
    with monkeypatch.context() as patch:
        # In the third epoch: the first is the best, one has been waited for.
        add_to_trainer(SendSignal(29, "SIGTERM"), patch.setattr)
        assert run("finetune", *call) == 143
    assert run("finetune", *call, RESUME) == 0
    state = json.loads((output / "trainer_state.json").read_text("utf-8"))
    assert state["epoch"] == 3


def interrupt_twice():
    with Interruption():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        pytest.fail("was not stopped")


def test_second_interrupt_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert signal.getsignal(signal.SIGINT) is before
