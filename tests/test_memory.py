"""What a user reads when memory runs out; tests/memory_child.py really lets it run out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from doors import ROOT, TINY_OVERRIDES, run, write_csv
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from smstune.command import command

#: Wide, so that the activations of a batch take tens of megabytes.
WIDE = (
    *TINY_OVERRIDES,
    "model.from_scratch={vocab_size: 600, hidden_size: 256, num_hidden_layers: 1, "
    "intermediate_size: 8192}",
    "training.max_steps=1",
    "training.per_device_train_batch_size=64",
)


@pytest.fixture(scope="module")
def wide_run(config_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "run"
    assert run("finetune", config_file, *WIDE, f"training.output_dir={path}") == 0
    return path


def last_line_without_memory(*words):
    """Run a script in little memory; return the last line of stderr, after a check of its end."""
    path = os.pathsep.join((str(ROOT / "train"), str(ROOT / "tests")))
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, str(ROOT / "tests/memory_child.py"), *map(str, words)]
    done = subprocess.run(call, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: out of memory")
    return line


@pytest.mark.slow
def test_training_names_its_batch_and_the_keys_in_order(config_file, tmp_path):
    output = f"training.output_dir={tmp_path / 'run'}"
    line = last_line_without_memory("finetune", config_file, *WIDE, output)
    assert "training.per_device_train_batch_size=64" in line
    keys = ("gradient_accumulation_steps", "gradient_checkpointing", "data.max_length", "lora")
    positions = [line.index(key) for key in keys]
    assert positions == sorted(positions)


@pytest.mark.slow
def test_scoring_names_its_batch(wide_run, tmp_path):
    text = "恭喜您中奖了，请点击链接领取奖品，退订回复字母，客服电话随时为您服务" * 3
    rows = [(f"{text}{number}",) for number in range(200)]
    messages = write_csv(tmp_path / "in.csv", rows, ("text",))
    words = ("predict", wide_run, messages, tmp_path / "out.csv", "--device", "cpu")
    assert "batches of 2048 tokens" in last_line_without_memory(*words, "--precision", "fp32")
    assert not (tmp_path / "out.csv").exists()
    assert "batches of 2048 tokens" in last_line_without_memory("eval", wide_run)


#: As onnxruntime 1.32 says it.
BUFFER = "Failed to allocate memory for requested buffer"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"
                     " memory: you tried to allocate 9 bytes."),
        RuntimeError("could not create a primitive"),
        OSError(12, "Cannot allocate memory"),
        Fail(f"[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:360 {BUFFER} of size 4294967296"),
    ],
)  # fmt: skip
def test_everywhere_else_it_is_one_line_too(error, capsys):
    def body(argv):
        raise error

    assert command(body)([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory")


def test_another_runtime_error_is_a_bug():
    def body(argv):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError):
        command(body)([])


def test_mps_is_refused_with_a_line(finished_run, capsys):
    assert run("predict", finished_run, "--text", "您好", "--device", "mps") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "mps" in line
    assert "cpu" in line
