"""The check of a GPU, as far as a machine without one can try it."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import pytest
import torch
from doors import TINY_OVERRIDES

from smstune.benchmark.gpu_check import Inputs, check, gpu_steps, main, resume_steps, speeds
from smstune.benchmark.timed_steps import DONE, Step, run_steps
from smstune.language import Message
from smstune.reporting.document import Table
from smstune.reporting.terminal import render_terminal


def step(code, *, name="step", processor="CPU", seconds=60, read=lambda printed: {"said": printed}):
    return Step(name, processor, [sys.executable, "-c", code], seconds, read)


def test_without_a_gpu_it_says_so_and_ends_with_0(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([str(tmp_path / "none"), "no/encoder", str(tmp_path / "out")]) == 0
    assert "no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_with_a_gpu_missing_data_are_told_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert main([str(tmp_path / "none"), "no/encoder", str(tmp_path / "out")]) == 2
    assert "make gpu-check DATA=FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_step_that_fails_hangs_or_comes_too_late_does_not_stop_the_others(tmp_path):
    ticks = tmp_path / "ticks"
    # A worker of the step that would outlive it.
    worker = f"import time\nwhile 1: open({str(ticks)!r}, 'a').write('.'); time.sleep(0.05)"
    hangs = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    steps = [
        step("import sys; sys.exit('error: no such run')", name="fails"),
        step(hangs, name="hangs", seconds=2),
        step("pass", name="says nothing", read=lambda printed: {"first": printed.split()[0]}),
        step("import os; print(os.environ['CUDA_VISIBLE_DEVICES'] == '')", name="is on the CPU"),
        step("import time; time.sleep(30)", name="is cut", seconds=30),
        step("pass", name="is late"),
    ]
    started = time.monotonic()
    outcomes = {outcome.step.name: outcome for outcome in run_steps(steps, 8)}
    assert time.monotonic() - started < 12
    assert outcomes["fails"].status == "failed with exit status 1: error: no such run"
    assert outcomes["hangs"].status == "ended after 2 s, its limit"
    assert outcomes["says nothing"].status.startswith("ended, but left no numbers to read")
    assert outcomes["is on the CPU"].status == DONE
    assert outcomes["is on the CPU"].numbers == {"said": "True\n"}
    assert outcomes["is cut"].status.startswith("ended after")
    assert outcomes["is late"].status == "not started: no time was left"
    assert ticks.exists()
    size = ticks.stat().st_size
    time.sleep(0.5)
    assert ticks.stat().st_size == size


def test_the_page_has_each_number_of_the_gpu_beside_that_of_the_cpu(tmp_path):
    report = tmp_path / "report.md"
    written_before = f"import pathlib; print(pathlib.Path(r'{report}').exists())"
    steps = [
        step("print(1)", name="eval", processor="GPU", read=lambda _: {"F1": 0.5, "speed": 900.0}),
        step("print(1)", name="eval", processor="CPU", read=lambda _: {"F1": 0.25}),
        step(written_before, name="page"),
    ]
    page = check(steps, report, Message("A machine."), 60).read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["eval", "F1", "0.500", "0.250"] in rows
    assert ["eval", "speed", "900.000", "–"] in rows
    # Written after each step, so that a killed check leaves what it knows.
    assert ["page", "said", "–", "True"] in rows
    assert "3 of 3 steps are done." in page


def test_speeds_are_read_from_the_tables_of_a_benchmark():
    head = ["setup", "messages", "messages per second", "ratio"]
    table = Table(head, [["ours", 320, 1234.5, 8.1], ["stock", 320, 152.4, 1.0]])
    printed = render_terminal(table, columns=240) + "Some processor, 2 cores\n"
    assert speeds(printed) == {
        "ours: messages per second": "1234.500",
        "ours: ratio": "8.100",
        "stock: messages per second": "152.400",
        "stock: ratio": "1.000",
    }
    with pytest.raises(ValueError, match="no table of speeds"):
        speeds("killed\n")


def test_onnxruntime_is_tried_on_the_gpu_only_where_it_can_run_there(tmp_path):
    inputs = Inputs(tmp_path, "encoder", tmp_path / "out")
    names = [
        [(s.name, s.processor) for s in gpu_steps(inputs, has_onnxruntime_gpu=has)]
        for has in (False, True)
    ]
    assert set(names[1]) - set(names[0]) == {("eval, onnxruntime", "GPU")}
    # What runs on both stands in one row, and no step is listed twice.
    assert len(set(names[1])) == len(names[1])


@pytest.mark.slow
def test_a_resumed_fine_tune_has_the_same_weights(tmp_path, prepared, checkpoint):
    inputs = Inputs(prepared, str(checkpoint), tmp_path / "out")
    overrides = (*TINY_OVERRIDES, "prepare.labels=null", "evaluation.groups={}")
    # Their limits are those of a GPU.
    steps = [replace(s, seconds=300) for s in resume_steps(inputs, "CPU", *overrides)]
    whole, resumed = run_steps(steps, 600)
    assert (whole.status, resumed.status) == (DONE, DONE)
    assert resumed.numbers == {"same weights, bit for bit": "yes"}
    assert whole.numbers["messages/s"] > 0
