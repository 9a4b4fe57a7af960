"""Two processes on a CPU give what one gives, by both launchers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from argparse import Namespace

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.data_loader import BatchSamplerShard
from doors import ROOT, TINY_OVERRIDES, run
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from smstune.config.loading import load_config
from smstune.training.epoch_order import shared_batches

ACCELERATE = ROOT / "configs/accelerate"
FILES = sorted(ACCELERATE.glob("*.yaml"))
NO_DROPOUT = [f"model.{name}_dropout=0" for name in ("hidden", "attention", "classifier")]


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 5))
def test_processes_together_take_the_batch_of_one(messages, batch_size, processes):
    order = list(range(messages))[::-1]
    batches = shared_batches(order, batch_size, processes)
    shards = [
        BatchSamplerShard(batches, processes, i, even_batches=False) for i in range(processes)
    ]
    for shard in shards:
        shard.batch_size = batch_size
    turns = list(zip(*shards, strict=True))
    whole = batch_size * processes
    assert len(turns) == len(shards[0]) == -(-messages // whole)
    for index, turn in enumerate(turns):
        alone = order[index * whole : (index + 1) * whole]
        taken = [message for share in turn for message in share]
        assert all(turn)
        assert set(taken) == set(alone)
        assert {taken.count(message) * len(alone) for message in taken} == {len(taken)}
        assert len(taken) == len(alone) or len(alone) < processes


def launch(module, *arguments):
    words = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def history(output):
    """Return ``{(step, name): value}`` of all that was logged."""
    state = json.loads((output / "trainer_state.json").read_text("utf-8"))
    names = ("loss", "grad_norm", "learning_rate", "eval_loss", "eval_accuracy", "eval_macro_f1")
    return {
        (row["step"], name): row[name]
        for row in state["log_history"]
        for name in names
        if name in row
    }


def test_two_processes_give_what_one_gives(config_file, tmp_path):
    """One of two is told to stop, both do, they go on, and end as one that was left alone.

    104 messages in batches of 10 leave an incomplete one, 12 to judge by in batches of 10 too.
    """
    call = [
        *(config_file, *TINY_OVERRIDES, *NO_DROPOUT, "training.device=cpu", "model.pooling=mean"),
        *("training.num_train_epochs=3", "training.logging_steps=1", "training.warmup_ratio=0"),
        *("training.learning_rate=3e-3", "training.lr_scheduler_type=constant"),
    ]
    sizes = [f"training.per_device_{split}_batch_size" for split in ("train", "eval")]
    alone, two = tmp_path / "alone", tmp_path / "two"
    whole = [f"{name}=10" for name in sizes]
    assert run("finetune", *call, *whole, f"training.output_dir={alone}") == 0
    call += [*(f"{name}=5" for name in sizes), f"training.output_dir={two}"]

    config = ACCELERATE / "two_cpu_processes.yaml"
    stopping = ("--config_file", config, ROOT / "tests/child.py", "15:SIGTERM:1")
    status, out, told = launch("accelerate.commands.launch", *stopping, *call)
    assert (status != 0, out) == (True, "")
    assert told.count("training.resume_from_checkpoint=true") == 1
    assert re.findall(r"exitcode +: (-?\d+)", told)[-1] == "143"
    written = {path.name for path in (two / "checkpoints/checkpoint-15").iterdir()}
    assert {"complete.json", "rng_state_0.pth", "rng_state_1.pth"} < written
    assert not (two / "manifest.json").exists()

    going_on = ("--nproc_per_node", 2, "--standalone", ROOT / "scripts/finetune.py")
    resume = "training.resume_from_checkpoint=true"
    status, out, told = launch("torch.distributed.run", *going_on, *call, resume)
    assert (status, out) == (0, f"{two}\n"), told
    assert len(history(two)) == len(history(alone))
    assert history(two) == pytest.approx(history(alone), abs=1e-3)
    losses = [value for (_, name), value in history(alone).items() if name == "loss"]
    assert min(losses) < losses[0] - 0.2, "nothing was learnt"
    left, right = (load_file(folder / "model.safetensors") for folder in (alone, two))
    assert all((left[name] - right[name]).abs().max() < 1e-3 for name in left)
    assert {path.name for path in two.iterdir()} == {path.name for path in alone.iterdir()}


@pytest.mark.slow
def test_of_two_processes_one_asks_the_teacher(config_file, joined_run, messages, tmp_path):
    unlabelled = tmp_path / "unlabelled.txt"
    unlabelled.write_text("".join(f"明天第{n * n}次见面，别忘了带书\n" for n in range(9)), "utf-8")
    call = [
        *(config_file, *TINY_OVERRIDES, *NO_DROPOUT, "training.device=cpu"),
        *(f"distillation.teacher={joined_run}", f"distillation.unlabelled=[{unlabelled}]"),
    ]
    size = "training.per_device_train_batch_size"
    alone, two = tmp_path / "alone", tmp_path / "two"
    assert run("finetune", *call, f"{size}=10", f"training.output_dir={alone}") == 0
    call += [f"{size}=5", f"training.output_dir={two}"]
    start = ("--nproc_per_node", 2, "--standalone", ROOT / "scripts/finetune.py")
    status, out, told = launch("torch.distributed.run", *start, *call)
    assert (status, out) == (0, f"{two}\n"), told
    assert told.count("asking the teacher") == 1
    assert history(two) == pytest.approx(history(alone), abs=1e-3)
    answers = [
        load_file(folder / "teacher_answers.safetensors")["logits"] for folder in (alone, two)
    ]
    assert len(answers[0]) > 104
    assert (answers[0] - answers[1]).abs().max() < 1e-4


def test_what_the_user_can_mend_is_told_once(config_file):
    call = ("--nproc_per_node", 2, "--standalone", ROOT / "scripts/finetune.py", config_file)
    status, out, told = launch("torch.distributed.run", *call, "training.learnin_rate=1")
    assert (status != 0, out) == (True, "")
    assert told.count("did you mean training.learning_rate?") == 1
    assert re.findall(r"exitcode +: (-?\d+)", told)[-1] == "2"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_reads_each_file_and_its_first_line_is_the_command(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    first, *_ = path.read_text("utf-8").splitlines()
    words = shlex.split(first.removeprefix("# accelerate launch "))
    parsed: Namespace = launch_command_parser().parse_args(words)
    assert parsed.config_file == str(path.relative_to(ROOT))
    assert parsed.training_script == "scripts/finetune.py"
    load_config(*parsed.training_script_args[:1], parsed.training_script_args[1:])
    args, *_ = _validate_launch_command(parsed)
    assert (args.num_processes > 1) == (args.multi_gpu or args.use_fsdp)
