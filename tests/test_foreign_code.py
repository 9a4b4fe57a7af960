"""Code that a folder brings is never run, and nobody is asked whether it may."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from doors import ROOT, TINY_OVERRIDES, change_json, name_in_manifest

EARLIER_RUN = ROOT / "tests/fixtures/run_of_85e36b6"
#: Leaves a file where it is run, then is what config.json promises.
EVIL = """
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

open({!r}, "w").close()


class EvilConfig(BertConfig):
    model_type = "evil"


class EvilModel(BertForSequenceClassification):
    config_class = EvilConfig


class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""
LOAD = re.compile(r"\bAuto\w+\.from_pretrained\((?:[^()]|\([^()]*\))*\)")


def bring_code(folder, trace):
    """Let a folder bring code that leaves the file ``trace``, and name it in config.json."""
    (folder / "evil.py").write_text(EVIL.format(str(trace)), "utf-8")
    names = {
        "AutoConfig": "evil.EvilConfig",
        "AutoModelForSequenceClassification": "evil.EvilModel",
        "AutoTokenizer": ["evil.EvilTokenizer", None],
    }
    brought = {"model_type": "evil", "auto_map": names}
    change_json(folder / "config.json", lambda config: config.update(brought))


def predict(folder, checkpoint, config_file, messages):
    run = shutil.copytree(EARLIER_RUN, folder / "run")
    return run, ("predict", run, messages, folder / "answers.jsonl")


def finetune(folder, checkpoint, config_file, messages):
    encoder = shutil.copytree(checkpoint, folder / "encoder")
    paths = (f"model.name_or_path={encoder}", f"training.output_dir={folder / 'trained'}")
    return encoder, ("finetune", config_file, *TINY_OVERRIDES, *paths)


def prepare(folder, checkpoint, config_file, messages):
    encoder = shutil.copytree(checkpoint, folder / "encoder")
    return encoder, ("prepare", messages, "--output", folder / "out", "--tokenizer", encoder)


@pytest.mark.parametrize(
    ("door", "status", "refusal"),
    [
        (predict, 2, "needs no code of its own"),
        (finetune, 2, "needs its own code (auto_map in config.json), which is never run"),
        # A tokenizer needs none: it is read by transformers itself.
        (prepare, 0, None),
    ],
)
def test_yes_on_stdin_runs_no_code(
    tmp_path, checkpoint, config_file, messages, door, status, refusal
):
    folder, (name, *words) = door(tmp_path, checkpoint, config_file, messages)
    bring_code(folder, tmp_path / "trace")
    if name == "predict":
        name_in_manifest(folder, "config.json")
    (tmp_path / "yes").write_text("y\n", "utf-8")
    call = [str(word) for word in (sys.executable, ROOT / f"scripts/{name}.py", *words)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "train"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
    }
    with (tmp_path / "yes").open("rb") as yes:
        done = subprocess.run(
            call, env=environment, stdin=yes, capture_output=True, text=True, check=False
        )
        # The file's position is the process's, too.
        assert os.lseek(yes.fileno(), 0, os.SEEK_CUR) == 0
    assert not (tmp_path / "trace").exists()
    assert done.returncode == status, done.stderr
    assert "[y/N]" not in done.stdout
    if refusal:
        assert refusal in done.stderr.splitlines()[-1]
        assert not any((tmp_path / left).exists() for left in ("answers.jsonl", "trained"))


def test_every_load_by_transformers_refuses_code():
    """Also those of a card, which a reader copies."""
    loads = [
        (path.name, load)
        for path in (ROOT / "train").rglob("*")
        if path.suffix in (".py", ".jinja")
        for load in LOAD.findall(path.read_text("utf-8"))
    ]
    assert len(loads) >= 9
    assert [pair for pair in loads if "trust_remote_code=False" not in pair[1]] == []
