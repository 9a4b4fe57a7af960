"""Trackers: TensorBoard's file is read back, the others are told apart from what is installed."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from typing import get_args

import pyarrow.parquet as pq
import pytest
from doors import TINY_OVERRIDES, run
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from smstune.config.schema import Tracker
from smstune.training import tracking


def nothing_is_installed(package):
    raise PackageNotFoundError(package)


def test_tensorboard_file_holds_what_was_logged(finished_run):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(finished_run / "logs")).Reload()
    state = json.loads((finished_run / "trainer_state.json").read_text("utf-8"))
    for tag, key in (
        ("train/loss", "loss"),
        ("train/learning_rate", "learning_rate"),
        ("eval/loss", "eval_loss"),
        ("eval/macro_f1", "eval_macro_f1"),
    ):
        logged = [(row["step"], row[key]) for row in state["log_history"] if key in row]
        assert len(logged) >= 2
        seen = [(event.step, event.value) for event in board.Scalars(tag)]
        assert [step for step, _ in seen] == [step for step, _ in logged]
        expected = [value for _, value in logged]
        assert [value for _, value in seen] == pytest.approx(expected, rel=1e-6)


def test_no_message_is_sent_to_a_tracker(finished_run, prepared):
    pytest.importorskip("tensorboard")
    (file,) = (finished_run / "logs").glob("events.*")
    written = file.read_bytes()
    assert b"macro_f1" in written
    for split in ("train", "validation", "test"):
        for text in pq.read_table(prepared / f"{split}.parquet")["text"].to_pylist():
            assert text.encode() not in written
            assert json.dumps(text)[1:-1].encode() not in written


def test_an_empty_list_is_no_tracker(config_file, tmp_path):
    overrides = ("training.max_steps=1", "training.report_to=[]")
    output = f"training.output_dir={tmp_path / 'run'}"
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides, output) == 0
    assert not (tmp_path / "run/logs").exists()
    assert not list((tmp_path / "run").rglob("events.*"))


def test_without_tensorboard_the_default_is_no_tracker(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "version", nothing_is_installed)
    assert tracking.tracking_callbacks(None, tmp_path) == []


def test_place_named_by_the_environment_is_kept(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "mine"))
    (callback,) = tracking.tracking_callbacks(None, tmp_path / "run")
    assert callback.logging_dir == str(tmp_path / "mine")


@pytest.mark.parametrize("name", get_args(Tracker))
def test_tracker_that_is_not_installed_is_told(name, config_file, tmp_path, capsys, monkeypatch):
    assert name in INTEGRATION_TO_CALLBACK
    monkeypatch.setattr(tracking, "version", nothing_is_installed)
    overrides = (f"training.report_to=[{name}]", f"training.output_dir={tmp_path / 'run'}")
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: training.report_to: expected trackers that are installed")
    assert error.endswith(f"pip install {name}")
    assert not (tmp_path / "run").exists()


def test_unknown_tracker_is_told(config_file, tmp_path, capsys):
    assert run("finetune", config_file, "training.report_to=[wandbb]") == 2
    error = capsys.readouterr().err
    assert "training.report_to" in error
    assert "'swanlab'" in error
