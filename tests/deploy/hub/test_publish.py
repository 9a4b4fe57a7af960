"""Publishing, with the real hub client, to a hub on this machine that also fails."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from doors import ROOT, add_exported_form, change_json, name_in_manifest, run
from hub_server import TOKEN, Repository
from huggingface_hub import ModelCard, constants
from onnx import TensorProto, external_data_helper, helper
from reported import LOAN, VARIANT, reports_file, with_limit
from safetensors.numpy import load_file, save_file

import smstune.deploy.hub.publish
from smstune.deploy.hub.gates import check_file
from smstune.deploy.hub.publish import staged
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier
from smstune.inference.manifest import load_manifest
from smstune.modeling.fit_linear import fit_linear

REPO = "my-team/sms"
WEIGHTS = "PUT /store/"
COMMIT = "/commit/main"
TEXTS = [
    "【云禾银行】您的账户支出350元，余额1208元。",
    "恭喜中奖，点击 http://t.example/a 领取",
    "",
]


@pytest.fixture(scope="module")
def exported_run(evaluated_run, tmp_path_factory):
    path = shutil.copytree(evaluated_run, tmp_path_factory.mktemp("exported") / "run")
    assert run("export", path, "--format", "onnx-int8") == 0
    return path


@pytest.fixture(scope="module")
def small_form_run(evaluated_run, tmp_path_factory):
    """Return a run with an exported form that is small and answers nothing."""
    path = shutil.copytree(evaluated_run, tmp_path_factory.mktemp("small") / "run")
    add_exported_form(path, onnx_graph())
    return path


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


def test_what_is_published_answers_by_its_id_as_the_run_does(hub, exported_run, capsys):
    assert publish(exported_run) == 0
    (address,) = capsys.readouterr().out.splitlines()
    repository = hub.repositories[REPO]
    commit, tree = repository.commits[-1]
    assert address == f"{hub.endpoint}/{REPO}/commit/{commit}"
    assert repository.private
    assert len(repository.commits) == 2, "one commit after the empty one"
    assert set(tree) == {
        "README.md", "README.zh-CN.md", "config.json", "labels.json", "manifest.json",
        "model.safetensors", "onnx/export.json", "onnx/model_int8.onnx", "onnx/report.md",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for folder in (exported_run, exported_run.parent):
        assert not [name for name, content in tree.items() if str(folder).encode() in content]
    there = SmsClassifier.from_pretrained(REPO, device="cpu")
    here = SmsClassifier.from_pretrained(exported_run, device="cpu")
    assert there.predict(TEXTS) == here.predict(TEXTS)
    assert there.predict(TEXTS)[0].decision is not None


def test_a_run_without_an_export_is_exported_after_all_checks(hub, finished_run, copy, tmp_path):
    unevaluated = shutil.copytree(finished_run, tmp_path / "unevaluated")
    assert publish(unevaluated) == 2
    assert not (unevaluated / "onnx").exists()
    assert publish(copy) == 0
    assert "onnx/model_int8.onnx" in hub.repositories[REPO].commits[-1][1]
    assert SmsClassifier.from_pretrained(REPO, device="cpu").precision == "int8"


def test_a_run_whose_int8_form_fails_is_published_in_fp32(hub, copy, monkeypatch, capsys):
    monkeypatch.setattr("smstune.deploy.export.export.failures", lambda rows: "macro_f1 fell")
    assert publish(copy) == 0
    assert "published without int8: quality gate of int8: macro_f1 fell" in capsys.readouterr().err
    assert "onnx/model.onnx" in hub.repositories[REPO].commits[-1][1]


def test_publishing_again_without_a_change_makes_no_commit(hub, small_form_run, capsys):
    assert publish(small_form_run) == publish(small_form_run) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert len(hub.asked(WEIGHTS)) == 2
    assert len(hub.asked(COMMIT)) == 1


def test_dry_run_shows_files_and_card_and_asks_nobody(hub, small_form_run, capsys):
    assert publish(small_form_run, "--dry-run") == 0
    shown = capsys.readouterr().out
    weights = (small_form_run / "model.safetensors").stat().st_size
    assert f"{hub.endpoint}/{REPO} (private), 10 files:" in shown
    assert f"{weights:,}  model.safetensors" in shown
    assert "## Intended use" in shown
    assert hub.requests == []


def test_public_is_public(hub, small_form_run):
    assert publish(small_form_run, "--public") == 0
    assert not hub.repositories[REPO].private


def test_files_that_loading_would_read_beside_the_new_ones_are_deleted(hub, small_form_run):
    hub.repositories[REPO] = Repository(private=True)
    old = {"onnx/old.onnx": b"x", "vocab.txt": b"x", "LICENSE": b"x", ".gitattributes": b"x"}
    hub.repositories[REPO].commit(old)
    assert publish(small_form_run) == 0
    left = set(hub.repositories[REPO].commits[-1][1]) & set(old)
    assert left == {"LICENSE", ".gitattributes"}


# --- a hub that fails


@pytest.mark.parametrize("fault", [500, 503, 429, "break", "stall"])
@pytest.mark.parametrize("call", ["preupload", "objects/batch", WEIGHTS, "/verify/"])
def test_one_fault_is_outlived(hub, small_form_run, call, fault):
    hub.faults[call] = [fault]
    assert publish(small_form_run) == 0
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
    hub, small_form_run, capsys, monkeypatch, call, fault, said
):
    monkeypatch.setattr(smstune.deploy.hub.publish, "TIMEOUT", 0.3)
    hub.faults[call] = [fault] * 18
    assert publish(small_form_run) == 2
    assert said in error_of(capsys)


@pytest.mark.parametrize("fault", [500, "stall", "break"])
def test_after_a_failure_the_same_command_sends_only_what_is_missing(hub, small_form_run, fault):
    hub.faults[COMMIT] = [fault]
    assert publish(small_form_run) == 2
    assert len(hub.storage) == 2
    hub.requests.clear()
    assert publish(small_form_run) == 0
    assert hub.asked(WEIGHTS) == []
    assert len(hub.repositories[REPO].commits) == 2


def test_a_broken_upload_leaves_nothing_and_goes_on(hub, small_form_run):
    hub.faults[WEIGHTS] = ["break"] * 12
    assert publish(small_form_run) == 2
    assert hub.storage == {}
    assert publish(small_form_run) == 0
    assert SmsClassifier.from_pretrained(REPO, backend="torch")


def test_of_two_large_files_only_the_missing_one_is_sent_again(hub, copy):
    graph = onnx_graph(documentation="a graph " * 2000)
    add_exported_form(copy, graph)
    missing = f"{WEIGHTS}{hashlib.sha256(graph).hexdigest()}"
    hub.faults[missing] = ["break"] * 6
    assert publish(copy) == 2
    assert len(hub.storage) == 1
    hub.requests.clear()
    assert publish(copy) == 0
    assert hub.asked(WEIGHTS) == [missing]
    assert hub.repositories[REPO].commits[-1][1]["onnx/model.onnx"] == graph


def test_no_hub_there_is_told(hub, small_form_run, capsys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert publish(small_form_run) == 2
    assert "the connection failed" in error_of(capsys)


@pytest.mark.parametrize(
    ("token", "said"), [("", "no token: run `hf auth login`"), ("hf_wrong", "token was refused")]
)
def test_a_missing_or_refused_token_is_told(hub, small_form_run, capsys, monkeypatch, token, said):
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    assert publish(small_form_run) == 2
    assert said in error_of(capsys)
    assert hub.repositories == {}


@pytest.mark.parametrize("private", [True, False])
def test_a_repository_of_another_is_refused(hub, small_form_run, capsys, private):
    hub.repositories["stranger/sms"] = Repository(private=private)
    flags = [] if private else ["--public"]
    assert run("publish", small_form_run, "stranger/sms", "--accept-terms", *flags) == 2
    assert "the token has no right" in error_of(capsys)
    assert hub.storage == {}


@pytest.mark.parametrize("private", [True, False])
def test_the_other_visibility_is_refused(hub, small_form_run, capsys, private):
    hub.repositories[REPO] = Repository(private=private)
    assert publish(small_form_run, *(["--public"] if private else [])) == 2
    assert f"found a {'private' if private else 'public'} repository" in error_of(capsys)
    assert hub.storage == {}


def test_offline_is_respected(hub, small_form_run, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert publish(small_form_run) == 2
    assert "HF_HUB_OFFLINE" in error_of(capsys)
    assert hub.requests == []


# --- gates


def plant_phone(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(note="请致电13800138000"))
    name_in_manifest(folder, "tokenizer_config.json")


def plant_phone_as_number(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(limit=13800138000))
    name_in_manifest(folder, "tokenizer_config.json")


def plant_phone_in_the_vocabulary(folder):
    def rename(tokenizer):
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["13800138000"] = vocabulary.pop(next(one for one in vocabulary if len(one) == 1))

    change_json(folder / "tokenizer.json", rename)
    name_in_manifest(folder, "tokenizer.json")


def plant_code(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(auto_map={"AutoModel": "x.Y"}))
    name_in_manifest(folder, "tokenizer_config.json")


def onnx_graph(*, documentation="", text="", elsewhere=False):
    """Return an onnx file that holds nothing but texts, or says that its weights lie elsewhere."""
    tensor = helper.make_tensor("t", TensorProto.STRING, [1], [text.encode()])
    if elsewhere:
        tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], bytes(4), raw=True)
        external_data_helper.set_external_data(tensor, "weights.data")
    graph = helper.make_graph([], "graph", [], [], [tensor], doc_string=documentation)
    return helper.make_model(graph).SerializeToString()


def plant_chat_template(folder):
    change_json(folder / "tokenizer_config.json", lambda c: c.update(chat_template="{{ evil }}"))
    name_in_manifest(folder, "tokenizer_config.json")


def plant_pickle_as_a_graph(folder):
    add_exported_form(folder, pickle.dumps({}))


def plant_phone_in_a_graph(folder):
    add_exported_form(folder, onnx_graph(documentation="请致电13800138000"))


def plant_phone_in_a_graph_s_tensor(folder):
    add_exported_form(folder, onnx_graph(text="请致电13800138000"))


def plant_weights_beside_a_graph(folder):
    add_exported_form(folder, onnx_graph(elsewhere=True))


def damage_a_graph(folder):
    add_exported_form(folder, onnx_graph())
    path = folder / "onnx/model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def name_another_graph(folder):
    add_exported_form(folder, onnx_graph())
    (folder / "onnx/model.onnx").write_bytes(onnx_graph(documentation="another"))
    name_in_manifest(folder, "onnx/model.onnx")


def plant_phone_in_the_metadata(folder):
    path = folder / "model.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt", "note": "请致电13800138000"})
    name_in_manifest(folder, path.name)


def plant_phone_in_a_tensor_s_name(folder):
    path = folder / "model.safetensors"
    tensors = {**load_file(path), "13800138000": np.zeros(1)}
    save_file(tensors, path, metadata={"format": "pt"})
    name_in_manifest(folder, path.name)


def plant_phone_among_n_grams(folder):
    texts, labels = ["退订回T", "退订回T回"], np.array([0, 1])
    path = folder / "linear.safetensors"
    fit_linear(texts, labels, 4, groups=labels, min_campaigns=2).save(path)
    tensors = load_file(path)
    vocabulary = json.loads(tensors["vocabulary"].tobytes())
    vocabulary[-1] = "13800138000"
    tensors["vocabulary"] = np.frombuffer(json.dumps(vocabulary).encode(), np.uint8)
    save_file(tensors, path)
    name_in_manifest(folder, path.name)


def link_to_a_key(folder):
    (folder.parent / "id_rsa").write_text("a key", "utf-8")
    (folder / "vocab.txt").symlink_to(folder.parent / "id_rsa")
    name_in_manifest(folder, "vocab.txt")


def keep_personal_information(folder):
    change_json(folder / "manifest.json", lambda m: m["text"].update(mask_pii=False))


def tamper_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def tamper_evaluation(folder):
    change_json(folder / "manifest.json", lambda m: m["calibration"].update(temperature=9.0))


def move_the_operating_point(folder):
    def move(manifest):
        manifest["calibration"]["operating_points"][0]["threshold"] = 0.01

    change_json(folder / "manifest.json", move)


def better_the_scores(folder):
    change_json(folder / "eval/test/metrics.json", lambda m: m.update(macro_f1=1.0))


def change_the_predictions(folder):
    path = folder / "eval/test/predictions.parquet"
    table = pq.read_table(path)
    predicted = table.column_names.index("predicted")
    pq.write_table(table.set_column(predicted, "predicted", table["label"]), path)


def take_scores_of_an_earlier_version(folder):
    change_json(folder / "eval/test/metrics.json", lambda m: m.pop("predictions_sha256"))


def drop_the_predictions(folder):
    (folder / "eval/test/predictions.parquet").unlink()


def drop_evaluation(folder):
    shutil.rmtree(folder / "eval")


def drop_baseline(folder):
    change_json(folder / "eval/test/metrics.json", lambda m: m.update(baseline=None))


def drop_intervals(folder):
    change_json(folder / "eval/test/metrics.json", lambda m: m.update(ci={}))


def split_at_random(folder):
    change_json(folder / "manifest.json", lambda m: m["data"]["split"].update(method="random"))


GATES = [
    (plant_phone, "(PHONE) in tokenizer_config.json"),
    (plant_phone_as_number, "(PHONE) in tokenizer_config.json"),
    (plant_phone_in_the_vocabulary, "(PHONE) in tokenizer.json"),
    (plant_code, "tokenizer_config.json has auto_map"),
    (plant_chat_template, "tokenizer_config.json has chat_template"),
    (plant_pickle_as_a_graph, "onnx/model.onnx is not an onnx file"),
    (plant_phone_in_a_graph, "(PHONE) in onnx/model.onnx"),
    (plant_phone_in_a_graph_s_tensor, "(PHONE) in onnx/model.onnx"),
    (plant_weights_beside_a_graph, "onnx/model.onnx keeps its weights in another file"),
    (damage_a_graph, "onnx/model.onnx is not the file that manifest.json names"),
    (name_another_graph, "onnx/model.onnx is not the file that onnx/export.json names"),
    (plant_phone_in_the_metadata, "(PHONE) in model.safetensors"),
    (plant_phone_in_a_tensor_s_name, "(PHONE) in model.safetensors"),
    (plant_phone_among_n_grams, "linear.safetensors is not a linear model"),
    (link_to_a_key, "vocab.txt is a link"),
    (keep_personal_information, "--allow-unmasked"),
    (tamper_weights, "model.safetensors is not the file that manifest.json names"),
    (tamper_evaluation, "an evaluation of this calibration"),
    (move_the_operating_point, "an evaluation of this calibration"),
    (better_the_scores, "does not match predictions.parquet next to it"),
    (change_the_predictions, "does not match predictions.parquet next to it"),
    (take_scores_of_an_earlier_version, "does not match predictions.parquet next to it"),
    (drop_the_predictions, "does not match predictions.parquet next to it"),
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


def test_what_nothing_names_stays_at_home(hub, copy):
    """Whatever its name: code, pickles, an exported form and weights beside, a link to a key."""
    (copy.parent / "id_rsa").write_text("a key", "utf-8")
    add_exported_form(copy, onnx_graph())
    expected = {path.name for path in (copy / "onnx").iterdir()}
    for name in ("modeling.py", "onnx/weights.data", "onnx/model.pkl", "onnx/model_int8.onnx"):
        (copy / name).write_bytes(pickle.dumps({}))
    (copy / "special_tokens_map.json").symlink_to(copy.parent / "id_rsa")
    (copy / "onnx/report.md").symlink_to(copy.parent / "id_rsa")
    assert publish(copy) == 0
    tree = hub.repositories[REPO].commits[-1][1]
    sent = {name.partition("/")[2] for name in tree if name.startswith("onnx/")}
    assert sent == expected
    assert not {"modeling.py", "special_tokens_map.json"} & set(tree)


def test_unmasked_messages_are_published_where_that_is_said(hub, copy, capsys):
    keep_personal_information(copy)
    assert publish(copy, "--allow-unmasked", "--dry-run") == 0


def test_a_run_that_was_exported_is_published_whatever_its_hashes_are(hub, copy, capsys):
    """Cut to twelve digits, one hash in six reads as a number."""
    assert run("export", copy, "--format", "onnx") == 0
    generator = random.Random(0)
    digest = re.compile(r"(?<![.\w])(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,64}\b")
    with staged(copy, REPO, accept_terms=True) as folder:
        manifest = load_manifest(folder)
        texts = [path for path in folder.rglob("*") if path.suffix in (".json", ".md")]
        with_digests = {path for path in texts if digest.search(path.read_text("utf-8"))}
        assert {path.name for path in with_digests} >= {"manifest.json", "export.json", "report.md"}
        for path in sorted(with_digests):
            text, name = path.read_text("utf-8"), path.relative_to(folder).as_posix()
            for _ in range(60):
                path.write_text(
                    digest.sub(lambda found: random_digest(generator, len(found[0])), text), "utf-8"
                )
                check_file(path, name, manifest)


def test_a_measured_speed_is_no_telephone_number(hub, copy, capsys):
    speed = {"messages_per_second": 10086.2}
    change_json(copy / "eval/test/metrics.json", lambda m: m["throughput"].update(speed))
    assert publish(copy, "--dry-run") == 0
    assert "10,086 messages/s" in capsys.readouterr().out


def test_measurements_side_by_side_are_no_service_number(hub, small_form_run):
    with staged(small_form_run, REPO, accept_terms=True) as folder:
        manifest, page = load_manifest(folder), folder / "README.md"
        page.write_text("| onnx int8 | 2 cores | 0.9 | 1.2 | 3.9 | 4,459 |\n", "utf-8")
        check_file(page, page.name, manifest)
        page.write_text("| 1.2 | 3.9 | call 95588 |\n", "utf-8")
        with pytest.raises(UserError, match="SERVICE"):
            check_file(page, page.name, manifest)


def random_digest(generator, length):
    return "".join(generator.choices("0123456789abcdef", k=length))


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
        (None, "the origin of the data is unknown"),
        ([], "messages: a file of your own"),
        ([TERMS | {"commercial_use": "unclear"}], "unclear. None stated."),
        ([TERMS | {"commercial_use": "no"}], "no commercial use. None stated."),
        ([TERMS | {"commercial_use": "allowed"}], None),
    ],
)
def test_doubtful_terms_must_be_accepted(hub, small_form_run, tmp_path, capsys, terms, said):
    copy = shutil.copytree(small_form_run, tmp_path / "run")

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


def test_doubts_about_terms_are_said_in_chinese(hub, small_form_run, tmp_path, capsys):
    copy = shutil.copytree(small_form_run, tmp_path / "run")
    terms = [TERMS | {"commercial_use": "no", "licence": "无"}]
    data = {"path": "gone", "terms": terms, "sources": ["messages", "own"]}
    change_json(copy / "manifest.json", lambda manifest: manifest["data"].update(data))
    assert run("publish", copy, REPO, "--dry-run", "--lang", "zh") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "messages：不允许商用" in line
    assert "own：" in line
    assert not re.search(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", line)


@pytest.mark.parametrize("name", ["sms", "a/b/c", "../x/y", "my team/sms"])
def test_what_is_no_repository_is_told(hub, small_form_run, capsys, name):
    assert run("publish", small_form_run, name) == 2
    assert "ORG/NAME" in error_of(capsys)


# --- by its id


def test_a_revision_is_the_one_asked_for(hub, copy):
    assert publish(copy) == 0
    first = hub.repositories[REPO].commits[-1][0]
    assert run("eval", copy, "--calibrate", "evaluation.bootstrap_samples=20") == 0
    assert publish(copy) == 0
    points = [
        SmsClassifier.from_pretrained(REPO, revision=revision).run.manifest.calibration
        for revision in (first, None)
    ]
    assert points[0] != points[1]
    with pytest.raises(UserError, match="no such revision"):
        SmsClassifier.from_pretrained(REPO, revision="v9")


def test_only_what_loading_reads_is_fetched(hub, small_form_run, tmp_path):
    assert publish(small_form_run) == 0
    hub.repositories[REPO].commits[-1][1]["pytorch_model.bin"] = b"x"
    path = SmsClassifier.from_pretrained(REPO).run.path
    assert not (path / "pytorch_model.bin").exists()
    assert not (path / "README.md").exists()
    assert tmp_path in path.parents


def test_a_joined_run_answers_by_its_id_as_here(hub, joined_run):
    assert publish(joined_run) == 0
    there = SmsClassifier.from_pretrained(REPO, precision="fp32")
    here = SmsClassifier.from_pretrained(joined_run, precision="fp32")
    text = ["恭喜中奖，点击领取"]
    assert np.array_equal(there.predict_proba(text), here.predict_proba(text))


def test_offline_answers_from_the_cache_or_says_so(hub, small_form_run, monkeypatch):
    assert publish(small_form_run) == 0
    SmsClassifier.from_pretrained(REPO)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert SmsClassifier.from_pretrained(REPO).predict(["你好"])
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, and the files are not in the"):
        SmsClassifier.from_pretrained("my-team/other")
    assert hub.requests == []


def test_a_cached_run_answers_where_the_hub_does_not(hub, small_form_run, monkeypatch, capsys):
    assert publish(small_form_run) == 0
    SmsClassifier.from_pretrained(REPO)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert SmsClassifier.from_pretrained(REPO).predict(["你好"])
    assert capsys.readouterr().err.count("does not answer") == 1


def test_a_tampered_repository_is_refused(hub, small_form_run):
    assert publish(small_form_run) == 0
    tree = hub.repositories[REPO].commits[-1][1]
    tree["model.safetensors"] = tree["model.safetensors"][:-1] + b"\x01"
    with pytest.raises(UserError, match=r"is not the file that manifest\.json names"):
        SmsClassifier.from_pretrained(REPO, backend="torch")


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
        with pytest.raises(UserError, match=r"no folder at .*: check the path"):
            SmsClassifier.from_pretrained(missing)
    assert hub.requests == []


def test_an_existing_folder_goes_before_the_hub(hub, small_form_run, monkeypatch, tmp_path):
    (tmp_path / "my-team").mkdir()
    (tmp_path / "my-team/sms").symlink_to(small_form_run)
    monkeypatch.chdir(tmp_path)
    assert SmsClassifier.from_pretrained("my-team/sms")
    with pytest.raises(UserError, match="leave the revision out"):
        SmsClassifier.from_pretrained("my-team/sms", revision="main")
    assert hub.requests == []


# --- as a user does it


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_an_upload_the_same_command_goes_on(hub, small_form_run, tmp_path):
    """Another process and the environment's own switches: nothing is patched there."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT / "train"),
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, ROOT / "scripts/publish.py", small_form_run, REPO, "--accept-terms"]
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


# --- the memory


def test_a_memory_stays_at_home_unless_it_is_asked_for(hub, small_form_run, tmp_path, capsys):
    taught = with_limit(Path(shutil.copytree(small_form_run, tmp_path / "run")), 0.2)
    reports = reports_file(tmp_path, (LOAN, "bank_phishing", "block", "seen in November"))
    assert publish(taught, "--with-memory") == 2
    assert "has no memory" in error_of(capsys)
    assert run("learn", taught, reports) == 0
    assert publish(taught) == 0
    tree = hub.repositories[REPO].commits[-1][1]
    assert not [name for name in tree if "memory" in name]
    assert b"Reported campaigns" not in tree["README.md"]
    assert SmsClassifier.from_pretrained(REPO, device="cpu").memory is None

    capsys.readouterr()
    assert publish(taught, "--with-memory") == 0
    assert "can be rebuilt from it" in capsys.readouterr().err
    tree = hub.repositories[REPO].commits[-1][1]
    entry = json.loads(tree["memory/generation-1.jsonl"])
    assert entry["reporter"] is None
    assert "/" not in entry["false_alarms"]["source"]
    english, chinese = (tree[name].decode() for name in ("README.md", "README.zh-CN.md"))
    assert "remembers 1 campaigns (1 messages)" in english
    assert "blocked (1)" in english
    assert "1 个拦截" in chinese
    answer = SmsClassifier.from_pretrained(REPO, device="cpu").predict([VARIANT])[0]
    assert (answer.decision, answer.campaign.reason) == ("block", "seen in November")

    # Published again without it, it is gone there.
    assert publish(taught) == 0
    assert not [name for name in hub.repositories[REPO].commits[-1][1] if "memory" in name]


def test_a_reason_with_personal_information_is_not_published(hub, small_form_run, tmp_path, capsys):
    taught = with_limit(Path(shutil.copytree(small_form_run, tmp_path / "run")), 0.2)
    reports = reports_file(tmp_path, (LOAN, "retail", "block", "张三 13800138000 来电"))
    assert run("learn", taught, reports) == 0
    assert publish(taught, "--with-memory", "--dry-run") == 2
    assert "personal information" in error_of(capsys)
    assert publish(taught, "--dry-run") == 0
