"""benchmark through its door, on few messages: the table is there, the numbers are numbers."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest
from doors import TINY_OVERRIDES, run

from smstune.benchmark.inference import benchmark_inference


def test_dedup(messages, capsys):
    assert run("benchmark", "dedup", messages, "--sizes", "200", "400") == 0
    groups, recall = re.split(r"(?=┏)", capsys.readouterr().out)[1:]
    sizes = [int(row.split("│")[1].replace(",", "")) for row in groups.splitlines() if "│" in row]
    assert sizes == [200, 400]
    (cells,) = [row.split("│")[1:-1] for row in recall.splitlines() if "│" in row]
    pairs, share, false_merges = (float(cell.replace(",", "")) for cell in cells)
    assert pairs > 0
    assert (share, false_merges) == (1, 0)


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
def test_scoring_by_each_method(finished_run, prepared, tmp_path):
    texts = pq.read_table(prepared / "test.parquet")["text"].to_pylist()
    rows = benchmark_inference(finished_run)
    assert [row.method.partition(",")[0] for row in rows] == [
        "pipeline", "pipeline", "the same", "smstune torch", "linear baseline",
        "linear baseline",
    ]  # fmt: skip
    assert rows[0].ratio == 1
    for row in rows:
        assert row.messages == row.distinct == len(texts)
        assert 0.1 < row.peak_rss_gib < 8
        assert row.messages_per_second > 0
    copies = tmp_path / "copies.jsonl"
    lines = [json.dumps({"text": text}) + "\n" for text in texts * 2]
    copies.write_text("".join(lines), "utf-8")
    rows = {row.method: row for row in benchmark_inference(finished_run, copies)}
    assert rows["smstune torch"].messages == 2 * len(texts)
    assert rows["smstune torch, distinct"].messages == len(texts)
