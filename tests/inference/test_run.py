"""A run folder loads only if its parts belong together."""

from __future__ import annotations

import shutil

import pytest
from doors import change_json, name_in_manifest, run

from smstune.errors import UserError
from smstune.inference.run import load_run


@pytest.fixture
def copy(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def test_whole_folder_loads(copy):
    run = load_run(copy)
    assert list(run.labels.names) == run.manifest.labels


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "labels.json"])
def test_tampered_file_is_refused(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(UserError, match=f"{name} is not the file that manifest.json names"):
        load_run(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "labels.json"])
def test_missing_file_is_told(copy, name):
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"expected {name} in the run folder"):
        load_run(copy)


def test_other_label_order_is_refused(copy):
    change_json(copy / "labels.json", lambda rows: rows.reverse())
    name_in_manifest(copy, "labels.json")
    with pytest.raises(UserError, match=r"labels.json has the labels \['bank_alert'"):
        load_run(copy)


def test_other_normaliser_is_refused(copy):
    change_json(copy / "manifest.json", lambda m: m["text"].update(normalizer_version=0))
    with pytest.raises(UserError, match="trained under normaliser version 0"):
        load_run(copy)


def test_tables_that_normalise_otherwise_are_told_once(copy, caplog):
    change_json(copy / "manifest.json", lambda m: m["versions"].update(opencc="0.1"))
    load_run(copy)
    assert "normalised otherwise" not in caplog.text
    change_json(copy / "manifest.json", lambda m: m.update(probe_digest="0" * 64))
    load_run(copy)
    load_run(copy)
    (line,) = [line for line in caplog.messages if "normalised otherwise" in line]
    assert "trained with opencc 0.1" in line


def test_larger_tokenizer_is_refused(copy):
    def grow(tokenizer):
        last = max(token["id"] for token in tokenizer["added_tokens"])
        extra = {**tokenizer["added_tokens"][-1], "id": last + 1, "content": "[EXTRA]"}
        tokenizer["added_tokens"].append(extra)

    change_json(copy / "tokenizer.json", grow)
    name_in_manifest(copy, "tokenizer.json")
    with pytest.raises(UserError, match="the tokenizer has"):
        load_run(copy)


def test_unknown_manifest_key_is_refused(copy):
    change_json(copy / "manifest.json", lambda m: m.update(surprise=1))
    with pytest.raises(UserError, match="surprise"):
        load_run(copy)


def test_unfinished_run_says_how_to_go_on(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert run("predict", tmp_path, "-", "-") == 2
    assert "resume_from_checkpoint=true" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "predict", "export", "publish"])
def test_a_missing_folder_is_named_with_the_run_of_a_similar_name(
    command, tmp_path, monkeypatch, capsys
):
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/manifest.json").touch()
    (tmp_path / "runs/mien-notes").mkdir()
    monkeypatch.chdir(tmp_path)
    words = {"predict": ["--text", "短信"], "export": ["--format", "onnx"], "publish": ["me/sms"]}
    for name, hint in (("runs/mien", "did you mean runs/mine? If not, "), ("runs/fbs14", "")):
        assert run(command, name, *words.get(command, [])) == 2
        expected = f"error: no folder at {name}: {hint}check the path\n"
        assert capsys.readouterr().err.endswith(expected)
