"""Killed anywhere and started again, a command leaves what an undisturbed one leaves."""

from __future__ import annotations

import json
import shutil

import pytest
from doors import run
from kills import Killed, moments, tree

KILLS = 40


def kill_and_run_again(folder, command, kills=KILLS):
    """Kill the command at ``kills`` moments, run it again after each, and compare the folder."""
    folder.mkdir()
    killed = Killed(folder, *command)
    operations, seconds = killed.undisturbed()
    whole = tree(folder)
    assert whole
    for how, when in moments(kills, operations, seconds):
        shutil.rmtree(folder)
        folder.mkdir()
        getattr(killed, how)(when)
        # A kill after the last rename leaves all of it: prepare then refuses to write again.
        status = run(*command)
        assert status in (0, 2), (how, when, status)
        assert tree(folder) == whole, (how, when)
    return operations


@pytest.mark.slow
def test_prepare_is_whole_after_a_kill(tmp_path, messages, labels_file):
    out = tmp_path / "work/out"
    command = ("prepare", messages, "--labels", labels_file, "--output", out)
    assert kill_and_run_again(tmp_path / "work", command) > 20


@pytest.mark.slow
@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
def test_predict_is_whole_after_a_kill(finished_run, tmp_path, monkeypatch, target):
    from scoring_child import ROWS_AT_ONCE

    from smstune.deploy.batch import score_file as batch

    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", ROWS_AT_ONCE)
    source = tmp_path / "in.jsonl"
    rows = [{"id": number, "text": f"第{number % 30}条消息，请查收"} for number in range(60)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = ("predict", finished_run, source, tmp_path / "work" / target)
    assert kill_and_run_again(tmp_path / "work", command, KILLS // 2) > 20
