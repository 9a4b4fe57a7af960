"""Shipped configurations by their names, and what paths in a file are relative to."""

from __future__ import annotations

import pytest
from doors import ROOT

from smstune.config.loading import load_config
from smstune.config.shipped import config_names, find_config, shipped_configs
from smstune.errors import UserError


def test_in_a_checkout_they_are_beside_the_source():
    assert shipped_configs() == ROOT / "configs"
    assert {"fbs14", "recipes/lora", "labels/sample"} <= set(config_names())


def test_in_a_wheel_they_are_inside_the_package(tmp_path):
    package = tmp_path / "site-packages/smstune"
    (package / "configs").mkdir(parents=True)
    assert shipped_configs(package) == package / "configs"


def test_a_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("fbs14") == ROOT / "configs/fbs14.yaml"
    (tmp_path / "fbs14").write_text("data: {path: mine}\n")
    assert find_config("fbs14").resolve() == tmp_path / "fbs14"
    with pytest.raises(UserError, match=r"did you mean fbs14\?"):
        find_config("fsb14")


def test_labels_and_parent_are_relative_to_the_file_and_the_rest_is_not(tmp_path, monkeypatch):
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "labels.yaml").write_text("labels: [{name: a}, {name: b}]\n")
    (folder / "parent.yaml").write_text("prepare: {labels: labels.yaml}\ndata: {path: prepared}\n")
    (folder / "mine.yaml").write_text("extends: parent.yaml\nprepare: {inputs: [m.csv]}\n")
    monkeypatch.chdir(tmp_path)
    config = load_config("experiments/mine.yaml")
    assert config.prepare.labels == folder / "labels.yaml"
    assert config.prepare.inputs == ["m.csv"]
    assert str(config.data.path) == "prepared"
    config = load_config("experiments/mine.yaml", ["prepare.labels=labels.yaml"])
    assert str(config.prepare.labels) == "labels.yaml"


def test_a_file_of_ones_own_extends_a_shipped_one(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: base\nprepare: {labels: labels/sms4}\ndata: {path: d}\n")
    config = load_config(path)
    assert config.training.num_train_epochs == 4
    assert find_config(config.prepare.labels) == ROOT / "configs/labels/sms4.yaml"
