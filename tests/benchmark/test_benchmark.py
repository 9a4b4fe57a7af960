"""benchmark through its door, on few messages: the table is there, the numbers are numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from doors import ROOT, TINY_OVERRIDES, change_json, name_in_manifest, run

from smstune.benchmark import memory
from smstune.benchmark.inference import benchmark_inference, fixed_sample
from smstune.benchmark.processes import call_in_fresh_process, peak_rss_gib
from smstune.benchmark.training import benchmark_training
from smstune.config.loading import load_config
from smstune.errors import UserError
from smstune.inference.backends.processor import instruction_sets, processor_name
from smstune.inference.manifest import load_manifest


def test_dedup(messages, capsys):
    assert run("benchmark", "dedup", messages, "--sizes", "200", "400") == 0
    groups, recall = re.split(r"(?=┏)", capsys.readouterr().out)[1:]
    sizes = [int(row.split("│")[1].replace(",", "")) for row in groups.splitlines() if "│" in row]
    assert sizes == [200, 400]
    (cells,) = [row.split("│")[1:-1] for row in recall.splitlines() if "│" in row]
    pairs, share, false_merges = (float(cell.replace(",", "")) for cell in cells)
    assert pairs > 0
    assert (share, false_merges) == (1, 0)
    for table in (groups, recall):
        assert table.endswith(", ".join([processor_name(), *instruction_sets()]) + "\n")


def test_training_with_each_setup(config_file, tmp_path, capsys):
    overrides = [*TINY_OVERRIDES, f"training.output_dir={tmp_path / 'run'}"]
    assert run("benchmark", "train", config_file, *overrides, "--messages", "32") == 0
    table = capsys.readouterr().out
    for setup in ("ours", "stock tuned", "stock"):
        assert setup in table
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_server_under_load(finished_run, capsys):
    assert run("benchmark", "server", finished_run, "--seconds", "1", "--bodies", "20") == 0
    loads, memory, stops = re.split(r"(?=┏)", capsys.readouterr().out)[1:]
    for load in ("16 clients, 32 messages", "256 clients, 4 messages", "20 explain"):
        assert load in loads
    (cells,) = [row.split("│")[1:-1] for row in memory.splitlines() if "│" in row]
    assert cells[0].strip() == "20"
    assert float(cells[2].replace(",", "")) > 0
    assert "SIGTERM" in stops
    assert "SIGHUP" in stops


@pytest.mark.slow
def test_each_setup_measures_what_its_share_of_the_time_allows(config_file, tmp_path):
    overrides = [*TINY_OVERRIDES, f"training.output_dir={tmp_path / 'run'}"]
    rows = benchmark_training(load_config(config_file, overrides), 32, seconds=0)
    # At least a batch.
    assert [row.messages for row in rows] == [8, 8, 8]
    assert all(row.messages_per_second > 0 for row in rows)


@pytest.mark.slow
def test_scoring_by_each_method(finished_run, prepared, tmp_path, caplog):
    caplog.set_level("INFO")
    texts = pq.read_table(prepared / "test.parquet")["text"].to_pylist()
    rows = benchmark_inference(finished_run)
    assert [row.method.partition(",")[0] for row in rows] == [
        "pipeline", "pipeline", "smstune torch", "linear model", "linear model",
    ]  # fmt: skip
    assert "int8 is not measured" in caplog.text
    assert rows[0].ratio == 1
    for row in rows:
        assert row.messages == row.distinct == len(texts)
        assert 0.05 < row.peak_rss_gib < 8
        assert row.messages_per_second > 0
    copies = tmp_path / "copies.jsonl"
    lines = [json.dumps({"text": text}) + "\n" for text in texts * 2]
    copies.write_text("".join(lines), "utf-8")
    rows = {row.method: row for row in benchmark_inference(finished_run, copies)}
    assert rows["smstune torch"].messages == 2 * len(texts)
    assert rows["smstune torch, distinct"].messages == len(texts)


@pytest.mark.slow
def test_int8_with_and_without_a_cascade_and_start_up(joined_run, tmp_path, capsys):
    path = shutil.copytree(joined_run, tmp_path / "run")
    generous = [f"export.max_{name}=1" for name in ("macro_f1_loss", "recall_loss", "ece_rise")]
    assert run("export", path, *generous, "--format", "onnx-int8") == 0
    measure = ("benchmark", "inference", path, "--messages", "3")
    capsys.readouterr()
    assert run(*measure) == 0
    output, log = capsys.readouterr()
    assert f"`smstune eval {path} --calibrate evaluation.cascade={{}}`" in log
    assert "cascade" not in output
    speeds, start_up = re.split(r"(?=┏)", output)[1:]
    assert [cells(row)[1] for row in speeds.splitlines() if "│" in row] == ["3"] * 6
    assert [cells(row)[0] for row in start_up.splitlines() if "│" in row] == [
        "pipeline", "smstune torch", "smstune int8",
    ]  # fmt: skip
    seconds = {cells(row)[0]: float(cells(row)[1]) for row in start_up.splitlines() if "│" in row}
    # torch alone takes longer to import than int8 to answer.
    assert 0 < seconds["smstune int8"] < 0.7 * seconds["smstune torch"]
    give_a_cascade(path)
    assert run(*measure) == 0
    output, log = capsys.readouterr()
    assert "cascade" not in log
    assert "smstune int8, cascade" in output


def cells(row):
    """Return the cells of a table's row on the terminal."""
    return [cell.strip() for cell in row.split("│")[1:-1]]


def give_a_cascade(path):
    """Let a run and its int8 form have a cascade, as if they had been calibrated with one."""
    cascade = {"max_changed": 0.3, "confidence": 0.5, "threshold": 0.5}
    change_json(
        path / "onnx/export.json",
        lambda export: export["files"]["model_int8.onnx"]["calibration"].update(cascade=cascade),
    )
    change_json(
        path / "manifest.json", lambda manifest: manifest["calibration"].update(cascade=cascade)
    )
    name_in_manifest(path, "onnx/export.json")


def test_the_sample_is_always_the_same_and_not_the_first_messages():
    texts = [str(number) for number in range(100)]
    sample = fixed_sample(texts, 10)
    assert sample == fixed_sample(texts, 10)
    assert len(set(sample)) == 10
    assert sample != texts[:10]
    assert sorted(fixed_sample(texts, 500)) == sorted(texts)


def test_no_messages_are_refused(finished_run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("benchmark", "inference", finished_run, "--messages", "0")
    assert "--messages must be at least 1, found 0" in capsys.readouterr().err


def test_memory_of_a_process_does_not_include_its_parents():
    ballast = b"x" * 2**28
    assert peak_rss_gib() > len(ballast) / 2**30
    # torch is loaded here and not there.
    assert 0.005 < call_in_fresh_process(peak_rss_gib) < 0.15


def test_an_error_in_a_fresh_process_is_raised_here(tmp_path):
    with pytest.raises(UserError, match="no folder at"):
        call_in_fresh_process(load_manifest, tmp_path / "none")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_benchmark_ends_what_it_started(finished_run, number):
    words = [sys.executable, ROOT / "scripts/benchmark.py", "inference", finished_run]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as benchmark:
        worker = wait_for_worker(benchmark)
        try:
            # Now it does not end by itself.
            os.kill(worker, signal.SIGSTOP)
            benchmark.send_signal(number)
            _, errors = benchmark.communicate(timeout=20)
        finally:
            benchmark.kill()
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    assert benchmark.returncode == 128 + number
    assert errors.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in errors
    assert not Path(f"/proc/{worker}").exists()


def wait_for_worker(benchmark):
    """Return the number of the process that measures the first method, once it runs."""
    while benchmark.poll() is None:
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                command = (status.parent / "cmdline").read_bytes()
                if parent == benchmark.pid and b"spawn_main" in command:
                    return int(status.parent.name)
        time.sleep(0.05)
    pytest.fail("the benchmark ended before it measured")


def test_a_memory_is_timed_and_its_reports_are_counted(prepared, monkeypatch):
    monkeypatch.setattr(memory, "_QUERIES", 50)
    monkeypatch.setattr(memory, "_SINGLE", 3)
    monkeypatch.setattr(memory, "_LEAST_CAMPAIGNS", 5)
    texts, label_ids, _, names = memory.read_prepared(prepared)
    assert len(texts) == len(label_ids)
    speed = memory.benchmark_lookup(texts, 300)
    # Queries and known messages are variants of the same messages.
    assert 0.5 < speed.recognised <= 1
    rows = memory.recall_of_reports(prepared, 0.7)
    assert {row.label for row in rows} == set(names)
    # Where all campaigns of a label were reported, nothing is left of it.
    assert all(row.false_alarms == 0 and (row.rest or 0) < 0.2 for row in rows)
    assert max(row.same_campaigns or 0 for row in rows) > 0.8
