"""A hub that does not answer: one line, after one question."""

from __future__ import annotations

import time

import pytest
from doors import run
from huggingface_hub import constants
from huggingface_hub.utils import _http


@pytest.fixture
def no_hub(hub, monkeypatch, tmp_path):
    """No hub listens; waiting for one fails."""

    def no_sleep(seconds: float) -> None:
        raise AssertionError(f"the client waits {seconds} seconds to ask again")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(_http.time, "sleep", no_sleep)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "my-team/sms", "--text", "您好"],
        ["finetune", "base", "data.path={prepared}", "model.name_or_path=my-team/bert"],
        ["finetune", "base", "data.path={prepared}", "model.name_or_path=bert-of-old"],
        ["prepare", "my-team/set", "--output", "new"],
        ["prepare", "{messages}", "--output", "new", "--tokenizer", "my-team/bert"],
    ],
)
def test_no_answer_is_one_line_at_once(no_hub, capsys, prepared, messages, words):
    words = [word.format(prepared=prepared, messages=messages) for word in words]
    started = time.monotonic()
    assert run(*words) == 2
    assert time.monotonic() - started < 20
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "127.0.0.1:9" in line or "Retrying" in line] == lines[-1:]
    assert "Connection refused" in lines[-1]
    assert "HF_ENDPOINT to a mirror" in lines[-1]


@pytest.mark.parametrize("name", ["runs/typo", "./typo", "models/bert/typo", "my-team/typo"])
def test_an_encoder_that_is_a_path_is_not_asked_of_the_hub(
    hub, monkeypatch, tmp_path, prepared, capsys, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-team").mkdir()
    assert run("finetune", "base", f"data.path={prepared}", f"model.name_or_path={name}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name.removeprefix("./") in error
    assert "hub" not in error.lower()
    assert hub.requests == []
