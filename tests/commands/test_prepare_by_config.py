"""prepare --config: one file for an experiment, from messages to run."""

from __future__ import annotations

import csv
import json

import pytest
from doors import LABELS, TINY_OVERRIDES, change_json, run

SPLITS = ("train", "validation", "test")


@pytest.fixture
def experiment(tmp_path, monkeypatch, messages, labels_file, checkpoint):
    """Return a configuration in a folder of its own; the working folder is another."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/labels.yaml").write_bytes(labels_file.read_bytes())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work/messages.csv").write_bytes(messages.read_bytes())
    path = tmp_path / "configs/mine.yaml"
    path.write_text(
        "prepare: {inputs: [messages.csv], labels: labels.yaml, seed: 7}\n"
        f"data: {{path: prepared/mine}}\nmodel: {{name_or_path: {checkpoint}}}\n"
        "training: {output_dir: runs/mine}\n",
        "utf-8",
    )
    return path


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def test_one_file_prepares_trains_and_is_evaluated_from_another_folder(
    experiment, tmp_path, monkeypatch, capsys
):
    assert run("prepare", "--config", experiment) == 0
    captured = capsys.readouterr()
    assert captured.out == "prepared/mine\n"
    assert f"next: smstune finetune {experiment}" in captured.err
    assert manifest(tmp_path / "work/prepared/mine")["split"]["seed"] == 7
    labels = json.loads((tmp_path / "work/prepared/mine/labels.json").read_text("utf-8"))
    assert labels[0]["name"] == "gambling"
    assert run("finetune", experiment, *TINY_OVERRIDES, "training.max_steps=2") == 0
    data = manifest(tmp_path / "work/runs/mine")["data"]
    assert data["path"] == str(tmp_path / "work/prepared/mine")
    monkeypatch.chdir(tmp_path)
    assert run("eval", "work/runs/mine", "evaluation.bootstrap_samples=0") == 0


def test_overrides_and_flags_go_before_the_section_and_inputs_replace_its_own(
    experiment, tmp_path, messages
):
    (tmp_path / "work/messages.csv").unlink()
    words = [messages, "prepare.seed=8", "data.path=elsewhere"]
    assert run("prepare", "--config", experiment, *words, "--keep-pii") == 0
    found = manifest(tmp_path / "work/elsewhere")
    assert found["split"]["seed"] == 8
    assert found["text"]["mask_pii"] is False
    assert run("prepare", "--config", experiment, messages, "--seed", "9", "--output", "third") == 0
    assert manifest(tmp_path / "work/third")["split"]["seed"] == 9


def test_a_fine_tune_without_prepared_data_names_the_command_that_prepares_it(experiment, capsys):
    assert run("finetune", experiment, "data.path=elsewhere", "training.seed=1") == 2
    error = capsys.readouterr().err
    assert f"run `smstune prepare --config {experiment} data.path=elsewhere`" in error
    assert error.count("\n") == 1
    # What it says works.
    assert run("prepare", "--config", experiment, "data.path=elsewhere") == 0


def test_data_of_other_labels_is_refused(experiment, tmp_path, capsys):
    assert run("prepare", "--config", experiment) == 0
    labels = tmp_path / "work/prepared/mine/labels.json"
    change_json(labels, lambda rows: rows[0].update(parent="x"))
    assert run("finetune", experiment) == 2
    assert "was prepared with the labels gambling" in capsys.readouterr().err
    # Without a label file any labels agree.
    overrides = [*TINY_OVERRIDES, "training.max_steps=1", "prepare.labels=null"]
    assert run("finetune", experiment, *overrides) == 0


def test_the_bundled_sample_is_a_source(tmp_path):
    out = tmp_path / "out"
    assert run("prepare", "--config", "quickstart", "--output", out) == 0
    counts = manifest(out)["counts"]
    assert counts["read"] == 2529
    assert manifest(out)["inputs"][0]["source"] == "sample"


def test_a_missing_input_is_told(experiment, tmp_path, capsys):
    assert run("prepare", "--config", "fbs14") == 2
    assert "prepare.inputs" in capsys.readouterr().err
    assert run("finetune", "fbs14", "data.path=nowhere") == 2
    assert "--config fbs14 data.path=nowhere INPUT`" in capsys.readouterr().err


def test_the_recipe_for_own_messages_leads_to_answers(
    tmp_path, monkeypatch, messages, checkpoint, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "短信.csv").write_bytes(messages.read_bytes())
    assert run("prepare", "--config", "mine", "prepare.inputs=[短信.csv]") == 0
    fast = (f"model.name_or_path={checkpoint}", "data.max_length=64", "training.num_train_epochs=1")
    assert run("finetune", "mine", *fast) == 0
    assert "learning rate 0.0002, for an encoder of width 32" in capsys.readouterr().err
    assert run("eval", "runs/mine", "evaluation.bootstrap_samples=0") == 0
    assert run("predict", "runs/mine", "短信.csv", "answers.csv") == 0
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as stream:
        answers = [row["label"] for row in csv.DictReader(stream)]
    assert set(answers) <= set(LABELS)
    assert len(answers) == len(messages.read_text("utf-8").splitlines()) - 1
    # Trained with the linear model, and without anything that needs a decision about labels.
    assert (tmp_path / "runs/mine/linear.safetensors").is_file()
    calibration = manifest(tmp_path / "runs/mine")["calibration"]
    assert not calibration["operating_points"]
