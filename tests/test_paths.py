"""What a path or an id that a user wrote means, in every command that takes one."""

from __future__ import annotations

from pathlib import Path

import pytest
from doors import TINY_OVERRIDES, run

from smstune.config.loading import load_config
from smstune.paths import local_path


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """The user's home and working folder are two empty folders."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("my-team/sms", None),
        ("exists/typo", "exists/typo"),
        ("runs/typo", "runs/typo"),
        ("prepared/typo", "prepared/typo"),
        ("./my-team/sms", "my-team/sms"),
        ("models/bert/base", "models/bert/base"),
        ("sms", "sms"),
        (Path("my-team/sms"), "my-team/sms"),
        ("~no-such-user/sms", "~no-such-user/sms"),
    ],
)
def test_a_name_is_a_path_unless_it_can_only_be_an_id(name, path):
    Path("exists").mkdir()
    assert local_path(name) == (None if path is None else Path(path))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["predict", "runs/typo", "--text", "您好"], "runs/typo"),
        (["eval", "runs/typo"], "runs/typo"),
        (["prepare", "prepared/typo", "--output", "new"], "prepared/typo"),
        (["prepare", "in/typo.csv", "--output", "new"], "in/typo.csv"),
    ],
)
def test_a_mistyped_path_is_named_without_a_word_of_the_hub(words, named, capsys):
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error
    assert "hub" not in error.lower().replace("huggingface", "hub")
    assert not Path("new").exists()


def test_home_is_expanded_in_every_path(home, messages, checkpoint, capsys):
    (home / "messages.csv").write_bytes(messages.read_bytes())
    (home / "encoder").symlink_to(checkpoint)
    assert run("prepare", "~/messages.csv", "--output", "~/data") == 0
    config = ["data.path=~/data", "model.name_or_path=~/encoder", "training.output_dir=~/run"]
    assert run("finetune", "base", *TINY_OVERRIDES, *config, "training.max_steps=2") == 0
    assert run("predict", "~/run", "~/messages.csv", "~/answers.csv") == 0
    assert (home / "answers.csv").is_file()
    (home / "own.yaml").write_text("data: {path: ~/data}\nprepare: {labels: ~/l.yaml}\n", "utf-8")
    own = load_config(home / "own.yaml")
    assert (own.data.path, own.prepare.labels) == (home / "data", home / "l.yaml")
    assert run("eval", "~/no-run") == 2
    assert str(home / "no-run") in capsys.readouterr().err
    assert not any(Path().iterdir())
