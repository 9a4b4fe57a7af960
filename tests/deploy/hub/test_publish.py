"""Publishing, with the real hub client, to a hub on this machine that also fails."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from doors import ROOT, change_json, empty_export, run
from hub_server import TOKEN, Repository
from huggingface_hub import ModelCard, constants

import smstune.deploy.hub.publish
from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.classifier import SmsClassifier

REPO = "my-team/sms"
WEIGHTS = "PUT /store/"
COMMIT = "/commit/main"
TEXTS = [
    "【云禾银行】您的账户支出350元，余额1208元。",
    "恭喜中奖，点击 http://t.example/a 领取",
    "",
]


@pytest.fixture
def copy(evaluated_run, tmp_path):
    shutil.copytree(evaluated_run, tmp_path / "run")
    return tmp_path / "run"


def publish(folder, *flags):
    return run("publish", folder, REPO, "--accept-terms", *flags)


def error_of(capsys):
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error: ")]
    return line


# --- the way there and back


def test_what_is_published_answers_by_its_id_as_the_run_does(hub, evaluated_run, capsys):
    assert publish(evaluated_run) == 0
    (address,) = capsys.readouterr().out.splitlines()
    repository = hub.repositories[REPO]
    commit, tree = repository.commits[-1]
    assert address == f"{hub.endpoint}/{REPO}/commit/{commit}"
    assert repository.private
    assert len(repository.commits) == 2, "one commit after the empty one"
    assert set(tree) == {
        "README.md", "README.zh-CN.md", "config.json", "labels.json", "manifest.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for folder in (evaluated_run, evaluated_run.parent):
        assert not [name for name, content in tree.items() if str(folder).encode() in content]
    there = SmsClassifier.from_pretrained(REPO, precision="fp32")
    here = SmsClassifier.from_pretrained(evaluated_run, precision="fp32")
    assert there.predict(TEXTS) == here.predict(TEXTS)
    assert there.predict(TEXTS)[0].decision is not None


def test_publishing_again_without_a_change_makes_no_commit(hub, evaluated_run, capsys):
    assert publish(evaluated_run) == publish(evaluated_run) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert len(hub.asked(WEIGHTS)) == 1
    assert len(hub.asked(COMMIT)) == 1


def test_dry_run_shows_files_and_card_and_asks_nobody(hub, evaluated_run, capsys):
    assert publish(evaluated_run, "--dry-run") == 0
    shown = capsys.readouterr().out
    weights = (evaluated_run / "model.safetensors").stat().st_size
    assert f"{hub.endpoint}/{REPO} (private), 8 files:" in shown
    assert f"{weights:,}  model.safetensors" in shown
    assert "## Intended use" in shown
    assert hub.requests == []


def test_public_is_public(hub, evaluated_run):
    assert publish(evaluated_run, "--public") == 0
    assert not hub.repositories[REPO].private


def test_files_that_loading_would_read_beside_the_new_ones_are_deleted(hub, evaluated_run):
    hub.repositories[REPO] = Repository(private=True)
    old = {"onnx/old.onnx": b"x", "vocab.txt": b"x", "LICENSE": b"x", ".gitattributes": b"x"}
    hub.repositories[REPO].commit(old)
    assert publish(evaluated_run) == 0
    left = set(hub.repositories[REPO].commits[-1][1]) & set(old)
    assert left == {"LICENSE", ".gitattributes"}


# --- a hub that fails


@pytest.mark.parametrize("fault", [500, 503, 429, "break", "stall"])
@pytest.mark.parametrize("call", ["preupload", "objects/batch", WEIGHTS, "/verify/"])
def test_one_fault_is_outlived(hub, evaluated_run, call, fault):
    hub.faults[call] = [fault]
    assert publish(evaluated_run) == 0
    assert len(hub.repositories[REPO].commits) == 2


@pytest.mark.parametrize(
    ("call", "fault", "said"),
    [
        ("whoami", 503, "it fails (status 503"),
        ("whoami", "stall", "no answer in time"),
        ("whoami", "break", "the connection failed"),
        ("whoami", "html", "check HF_ENDPOINT"),
        ("repos/create", 500, "it fails (status 500"),
        ("preupload", 503, "it fails (status 503"),
        ("preupload", "stall", "no answer in time"),
        (WEIGHTS, 503, "it fails (status 503"),
        (WEIGHTS, "break", "the connection failed"),
        (WEIGHTS, 403, "the token has no right"),
        (COMMIT, "stall", "no answer in time"),
        (COMMIT, 500, "it fails (status 500"),
    ],
)
def test_a_hub_that_keeps_failing_is_told_in_one_line(
    hub, evaluated_run, capsys, monkeypatch, call, fault, said
):
    monkeypatch.setattr(smstune.deploy.hub.publish, "TIMEOUT", 0.3)
    hub.faults[call] = [fault] * 9
    assert publish(evaluated_run) == 2
    assert said in error_of(capsys)


@pytest.mark.parametrize("fault", [500, "stall", "break"])
def test_after_a_failure_the_same_command_sends_only_what_is_missing(hub, evaluated_run, fault):
    hub.faults[COMMIT] = [fault]
    assert publish(evaluated_run) == 2
    assert len(hub.storage) == 1
    hub.requests.clear()
    assert publish(evaluated_run) == 0
    assert hub.asked(WEIGHTS) == []
    assert len(hub.repositories[REPO].commits) == 2


def test_a_broken_upload_leaves_nothing_and_goes_on(hub, evaluated_run):
    hub.faults[WEIGHTS] = ["break"] * 6
    assert publish(evaluated_run) == 2
    assert hub.storage == {}
    assert publish(evaluated_run) == 0
    assert SmsClassifier.from_pretrained(REPO)


def test_of_two_large_files_only_the_missing_one_is_sent_again(hub, copy):
    graph = b"\x08\x08 stands for a graph" * 999
    exported(copy, "model.onnx", graph)
    missing = f"{WEIGHTS}{hashlib.sha256(graph).hexdigest()}"
    hub.faults[missing] = ["break"] * 6
    assert publish(copy) == 2
    assert len(hub.storage) == 1
    hub.requests.clear()
    assert publish(copy) == 0
    assert hub.asked(WEIGHTS) == [missing]
    assert hub.repositories[REPO].commits[-1][1]["onnx/model.onnx"] == graph


def test_no_hub_there_is_told(hub, evaluated_run, capsys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert publish(evaluated_run) == 2
    assert "the connection failed" in error_of(capsys)


@pytest.mark.parametrize(
    ("token", "said"), [("", "no token: run `hf auth login`"), ("hf_wrong", "token was refused")]
)
def test_a_missing_or_refused_token_is_told(hub, evaluated_run, capsys, monkeypatch, token, said):
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    assert publish(evaluated_run) == 2
    assert said in error_of(capsys)
    assert hub.repositories == {}


@pytest.mark.parametrize("private", [True, False])
def test_a_repository_of_another_is_refused(hub, evaluated_run, capsys, private):
    hub.repositories["stranger/sms"] = Repository(private=private)
    flags = [] if private else ["--public"]
    assert run("publish", evaluated_run, "stranger/sms", "--accept-terms", *flags) == 2
    assert "the token has no right" in error_of(capsys)
    assert hub.storage == {}


@pytest.mark.parametrize("private", [True, False])
def test_the_other_visibility_is_refused(hub, evaluated_run, capsys, private):
    hub.repositories[REPO] = Repository(private=private)
    assert publish(evaluated_run, *(["--public"] if private else [])) == 2
    assert f"found a {'private' if private else 'public'} repository" in error_of(capsys)
    assert hub.storage == {}


def test_offline_is_respected(hub, evaluated_run, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert publish(evaluated_run) == 2
    assert "HF_HUB_OFFLINE" in error_of(capsys)
    assert hub.requests == []


# --- gates


def plant_phone(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(note="请致电13800138000"))


def plant_phone_as_number(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(limit=13800138000))


def plant_phone_in_the_vocabulary(folder):
    def rename(tokenizer):
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["13800138000"] = vocabulary.pop(next(one for one in vocabulary if len(one) == 1))

    change_json(folder / "tokenizer.json", rename)
    digest = file_hash(folder / "tokenizer.json")
    change_json(folder / "manifest.json", lambda m: m["sha256"].update({"tokenizer.json": digest}))


def plant_code(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(auto_map={"AutoModel": "x.Y"}))


def exported(folder, name, content):
    empty_export(folder)
    (folder / "onnx" / name).write_bytes(content)


def plant_pickle(folder):
    exported(folder, "model.pkl", pickle.dumps({}))


def plant_pickle_under_another_name(folder):
    exported(folder, "model.onnx", pickle.dumps({}))


def plant_script(folder):
    exported(folder, "modeling.py", b"print()")


def tamper_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def tamper_evaluation(folder):
    change_json(folder / "manifest.json", lambda m: m["calibration"].update(temperature=9.0))


def move_the_operating_point(folder):
    def move(manifest):
        manifest["calibration"]["operating_points"][0]["threshold"] = 0.01

    change_json(folder / "manifest.json", move)


def drop_evaluation(folder):
    shutil.rmtree(folder / "eval")


def drop_baseline(folder):
    change_json(folder / "eval/test/metrics.json", lambda m: m.update(baseline=None))


def drop_intervals(folder):
    change_json(folder / "eval/test/metrics.json", lambda m: m.update(ci={}))


def split_at_random(folder):
    change_json(folder / "manifest.json", lambda m: m["data"]["split"].update(method="random"))


GATES = [
    (plant_phone, "found PHONE in tokenizer_config.json"),
    (plant_phone_as_number, "found PHONE in tokenizer_config.json"),
    (plant_phone_in_the_vocabulary, "found PHONE in tokenizer.json"),
    (plant_code, "found auto_map in tokenizer_config.json"),
    (plant_pickle, "found onnx/model.pkl"),
    (plant_pickle_under_another_name, "found onnx/model.onnx, which is a pickle"),
    (plant_script, "found onnx/modeling.py"),
    (tamper_weights, "model.safetensors is not the file that the manifest names"),
    (tamper_evaluation, "an evaluation of this calibration"),
    (move_the_operating_point, "an evaluation of this calibration"),
    (drop_evaluation, "found none: smstune eval"),
    (drop_baseline, "evaluation.baseline=true"),
    (drop_intervals, "evaluation.bootstrap_samples=1000"),
    (split_at_random, "--split group and train again"),
]


@pytest.mark.parametrize(("spoil", "said"), GATES, ids=[spoil.__name__ for spoil, _ in GATES])
def test_each_gate_refuses_before_anything_leaves(hub, copy, capsys, spoil, said):
    spoil(copy)
    assert publish(copy) == 2
    assert said in error_of(capsys)
    assert hub.requests == []


def test_a_random_split_passes_beside_an_evaluation_of_messages_from_elsewhere(
    hub, copy, messages, capsys
):
    split_at_random(copy)
    assert run("eval", copy, "--data", messages, "evaluation.bootstrap_samples=20") == 0
    assert publish(copy, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "The test messages are a random draw" in shown
    assert "| messages |" in shown[shown.index("Other evaluations") :]


TERMS = {
    "name": "messages", "title": "A set", "home": None, "licence": "None stated.", "citation": "A.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (None, "where the data come from is not known"),
        ([], "messages: a file of your own"),
        ([TERMS | {"commercial_use": "unclear"}], "unclear. None stated."),
        ([TERMS | {"commercial_use": "no"}], "no commercial use. None stated."),
        ([TERMS | {"commercial_use": "allowed"}], None),
    ],
)
def test_doubtful_terms_must_be_accepted(hub, copy, capsys, terms, said):
    def change(manifest):
        manifest["data"] |= {"path": "gone", "terms": terms}
        if terms is None:
            del manifest["data"]["terms"]

    change_json(copy / "manifest.json", change)
    assert run("publish", copy, REPO, "--dry-run") == (0 if said is None else 2)
    if said is not None:
        line = error_of(capsys)
        assert said in line
        assert "--accept-terms" in line
        assert publish(copy, "--dry-run") == 0


@pytest.mark.parametrize("name", ["sms", "a/b/c", "../x/y", "my team/sms"])
def test_what_is_no_repository_is_told(hub, evaluated_run, capsys, name):
    assert run("publish", evaluated_run, name) == 2
    assert "ORG/NAME" in error_of(capsys)


# --- by its id


def test_a_revision_is_the_one_asked_for(hub, copy):
    assert publish(copy) == 0
    first = hub.repositories[REPO].commits[-1][0]
    assert run("eval", copy, "--calibrate", "evaluation.bootstrap_samples=20") == 0
    assert publish(copy) == 0
    points = [
        SmsClassifier.from_pretrained(REPO, revision=revision).artifact.manifest.calibration
        for revision in (first, None)
    ]
    assert points[0] != points[1]
    with pytest.raises(UserError, match="no such revision"):
        SmsClassifier.from_pretrained(REPO, revision="v9")


def test_only_what_loading_reads_is_fetched(hub, evaluated_run, tmp_path):
    assert publish(evaluated_run) == 0
    hub.repositories[REPO].commits[-1][1]["pytorch_model.bin"] = b"x"
    path = SmsClassifier.from_pretrained(REPO).artifact.path
    assert not (path / "pytorch_model.bin").exists()
    assert not (path / "README.md").exists()
    assert tmp_path in path.parents


def test_a_joined_run_answers_by_its_id_as_here(hub, joined_run):
    assert publish(joined_run) == 0
    there = SmsClassifier.from_pretrained(REPO, precision="fp32")
    here = SmsClassifier.from_pretrained(joined_run, precision="fp32")
    text = ["恭喜中奖，点击领取"]
    assert np.array_equal(there.predict_proba(text), here.predict_proba(text))


def test_offline_answers_from_the_cache_or_says_so(hub, evaluated_run, monkeypatch):
    assert publish(evaluated_run) == 0
    SmsClassifier.from_pretrained(REPO)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert SmsClassifier.from_pretrained(REPO).predict(["你好"])
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, and the files are not in the"):
        SmsClassifier.from_pretrained("my-team/other")
    assert hub.requests == []


def test_a_tampered_repository_is_refused(hub, evaluated_run):
    assert publish(evaluated_run) == 0
    tree = hub.repositories[REPO].commits[-1][1]
    tree["model.safetensors"] = tree["model.safetensors"][:-1] + b"\x01"
    with pytest.raises(UserError, match="is not the file that the manifest names"):
        SmsClassifier.from_pretrained(REPO)


def test_other_repositories_and_paths_are_told(hub, monkeypatch, tmp_path):
    hub.repositories["my-team/bert"] = Repository(private=False)
    hub.repositories["my-team/bert"].commit({"config.json": b"{}", "model.safetensors": b"x" * 99})
    with pytest.raises(UserError, match=r"without manifest\.json"):
        SmsClassifier.from_pretrained("my-team/bert")
    assert not hub.asked("model.safetensors")
    with pytest.raises(UserError, match="no such repository"):
        SmsClassifier.from_pretrained("my-team/none")
    hub.requests.clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for missing in ("runs/mine", "./my-team/sms", "a/b/c", "mine", str(tmp_path / "mine")):
        with pytest.raises(UserError, match=r"found no manifest\.json in .*: check the path"):
            SmsClassifier.from_pretrained(missing)
    assert hub.requests == []


def test_an_existing_folder_goes_before_the_hub(hub, evaluated_run, monkeypatch, tmp_path):
    (tmp_path / "my-team").mkdir()
    (tmp_path / "my-team/sms").symlink_to(evaluated_run)
    monkeypatch.chdir(tmp_path)
    assert SmsClassifier.from_pretrained("my-team/sms")
    with pytest.raises(UserError, match="leave the revision out"):
        SmsClassifier.from_pretrained("my-team/sms", revision="main")
    assert hub.requests == []


# --- as a user does it


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_an_upload_the_same_command_goes_on(hub, evaluated_run, tmp_path):
    """Another process and the environment's own switches: nothing is patched there."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT / "train"),
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, ROOT / "scripts/publish.py", evaluated_run, REPO, "--accept-terms"]
    hub.faults[COMMIT] = ["stall"]
    child = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 240
    while not hub.asked(COMMIT):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(hub.repositories[REPO].commits) == 1
    sent = len(hub.asked(WEIGHTS))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout.splitlines()[-1].endswith(hub.repositories[REPO].commits[-1][0])
    assert len(hub.asked(WEIGHTS)) == sent
    tree = hub.repositories[REPO].commits[-1][1]
    card = ModelCard(tree["README.md"].decode())
    for code in card.text.split("```python\n")[1:]:
        subprocess.run([sys.executable, "-c", code.split("```")[0]], env=environment, check=True)
