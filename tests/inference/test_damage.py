"""A run is what its manifest says: damage of any file is noticed before a message is answered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from doors import ROOT, change_json, name_in_manifest, run

from smstune import SmsClassifier
from smstune.errors import UserError
from smstune.inference.manifest import NAMED, load_manifest
from smstune.modeling.fit_linear import fit_linear

#: Left by commit 85e36b6: its manifest has no checksum and names four files.
EARLIER = ROOT / "tests/fixtures/run_of_85e36b6"
TEXTS = [
    "【云禾银行】您的账户支出350元，余额1208元。",
    "恭喜中奖，点击 http://t.example/a 领取",
    "",
]
INT8 = ("--backend", "onnx", "--precision", "int8")
#: What else a tokenizer may be read from, and another content of it.
OTHER_TOKENIZER_FILES = {
    "special_tokens_map.json": ('{"pad_token": "[PAD]"}', '{"pad_token": "[MASK]"}'),
    "added_tokens.json": ("{ }", '{"元": 0}'),
    "vocab.txt": ("[PAD]\n[UNK]\n", "[PAD]\n元\n"),
}
#: By file: the options under which an answer is computed from it.
READ_WITH = {
    "manifest.json": INT8,
    "config.json": INT8,
    "tokenizer.json": INT8,
    "tokenizer_config.json": INT8,
    **dict.fromkeys(OTHER_TOKENIZER_FILES, INT8),
    "labels.json": INT8,
    "linear.safetensors": INT8,
    "model.safetensors": ("--backend", "torch"),
    "onnx/export.json": ("--backend", "auto"),
    "onnx/model_int8.onnx": ("--backend", "auto"),
    "onnx/model.onnx": ("--backend", "onnx", "--precision", "fp32"),
    "onnx/model_fp16.onnx": ("--backend", "onnx", "--precision", "fp16"),
}


@pytest.fixture(scope="module")
def exported(joined_run, tmp_path_factory):
    path = shutil.copytree(joined_run, tmp_path_factory.mktemp("exported") / "run")
    for name, (content, _) in OTHER_TOKENIZER_FILES.items():
        (path / name).write_text(content, "utf-8")
    name_in_manifest(path, *OTHER_TOKENIZER_FILES)
    assert run("export", path, "--format", "onnx", "onnx-int8", "onnx-fp16") == 0
    return path


@pytest.fixture(scope="module")
def other_run(learned_run, tmp_path_factory):
    """Return a folder with a file of another run for every one of READ_WITH."""
    path = shutil.copytree(learned_run, tmp_path_factory.mktemp("other") / "run")
    assert run("export", path, "--format", "onnx", "onnx-int8", "onnx-fp16") == 0
    shutil.copy(EARLIER / "labels.json", path / "labels.json")
    for name, (_, content) in OTHER_TOKENIZER_FILES.items():
        (path / name).write_text(content, "utf-8")
    # All tiny runs have the tokenizer of one checkpoint.
    change_json(path / "tokenizer.json", lambda tokenizer: tokenizer["added_tokens"].pop())
    change_json(path / "tokenizer_config.json", lambda c: c.update(padding_side="left"))
    linear = fit_linear(["退订回T", "退订回T回"], np.array([0, 1]), 4, np.array([0, 1]), 2)
    linear.save(path / "linear.safetensors")
    return path


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "run")


def cut(path, _):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_one_bit(path, _):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def delete(path, _):
    path.unlink()


def take_from_another_run(path, other):
    content = other.read_bytes()
    assert content != path.read_bytes()
    path.write_bytes(content)


def test_every_file_that_the_manifest_names_is_damaged_below(exported):
    manifest = load_manifest(exported)
    assert {*manifest.sha256, "manifest.json"} == {*READ_WITH, "onnx/report.md"}
    assert set(manifest.sha256) <= set(NAMED)


@pytest.mark.parametrize("damage", [cut, change_one_bit, delete, take_from_another_run])
@pytest.mark.parametrize("name", READ_WITH)
def test_damage_is_noticed_before_a_message_is_answered(
    copy, other_run, messages, capsys, name, damage
):
    damage(copy / name, other_run / name)
    output = copy.parent / "answers.jsonl"
    assert run("predict", copy, messages, output, *READ_WITH[name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    of_another = name == "manifest.json" and damage is take_from_another_run
    assert "do not belong together" in line if of_another else name in line
    assert not output.exists()


def test_every_bit_of_the_manifest_counts(copy):
    content = (copy / "manifest.json").read_bytes()
    values = json.loads(content)
    for number in range(0, 8 * len(content), 61):
        damaged = bytearray(content)
        damaged[number // 8] ^= 1 << number % 8
        (copy / "manifest.json").write_bytes(damaged)
        try:
            same = json.loads(damaged) == values  # 1e-05 is 1E-05
        except ValueError:
            same = False
        if not same:
            with pytest.raises(UserError, match="manifest"):
                load_manifest(copy)


HOSTILE = {
    "a temperature of 50": {"temperature": 50.0},
    "a temperature that is no number": {"temperature": float("nan")},
    "a linear weight of 1e9": {"linear_weight": 1e9},
    "a linear weight and no linear model": {"linear_weight": 1.0},
    "a bias for one label": {"label_bias": [1.0]},
    "an infinite bias": {"label_bias": [float("inf"), 0.0, 0.0, 0.0]},
}


@pytest.mark.parametrize("calibration", HOSTILE.values(), ids=HOSTILE)
def test_values_that_no_calibration_has_are_refused_without_a_checksum_too(
    tmp_path, messages, capsys, calibration
):
    folder = shutil.copytree(EARLIER, tmp_path / "run")
    change_json(folder / "manifest.json", lambda m: m["calibration"].update(calibration))
    assert run("predict", folder, messages, tmp_path / "answers.jsonl") == 2
    assert not (tmp_path / "answers.jsonl").exists()
    assert next(iter(calibration)).partition("_")[0] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["sha256"].clear(), "has no SHA-256 of config.json, model.safetensors"),
        (lambda m: m["sha256"].pop("labels.json"), "has no SHA-256 of labels.json"),
        (lambda m: m["sha256"].update({"../evil.py": "0" * 64}), "names ../evil.py"),
        (lambda m: m.update(max_length=0), "max_length"),
        (lambda m: m["calibration"]["operating_points"][0].update(threshold=-1), "threshold"),
        (lambda m: m["calibration"]["operating_points"][0].update(labels=["x"]), "found x"),
    ],
)
def test_a_manifest_that_no_run_has_is_refused(tmp_path, messages, capsys, change, said):
    folder = shutil.copytree(EARLIER, tmp_path / "run")
    change_json(folder / "manifest.json", change)
    assert run("predict", folder, messages, tmp_path / "answers.jsonl") == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_what_the_manifest_does_not_name_is_never_read(joined_run, tmp_path):
    """Each of these files, laid beside, is one that transformers reads of a folder."""
    copy = shutil.copytree(joined_run, tmp_path / "run")
    load = {"device": "cpu", "backend": "torch", "precision": "fp32"}
    before = SmsClassifier.from_pretrained(copy, **load).predict(TEXTS)
    adapter = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": str(copy)}
    for name, content in {
        "adapter_config.json": adapter,
        "added_tokens.json": {"元": 0},
        "special_tokens_map.json": {"pad_token": "[MASK]", "cls_token": "元"},
        "model.safetensors.index.json": {"weight_map": {}},
        "generation_config.json": {"_from_model_config": "x"},
    }.items():
        (copy / name).write_text(json.dumps(content), "utf-8")
    (copy / "chat_template.jinja").write_text("{{ evil }}", "utf-8")
    (copy / "vocab.txt").write_text("[PAD]\n元\n", "utf-8")
    (copy / "onnx").mkdir()
    (copy / "onnx/model.onnx").write_bytes(b"no graph")
    assert SmsClassifier.from_pretrained(copy, **load).predict(TEXTS) == before
    with pytest.raises(UserError, match="--format onnx"):
        SmsClassifier.from_pretrained(copy, backend="onnx", precision="fp32")


def test_a_tokenizer_that_cannot_be_read_is_told(tmp_path, messages, capsys):
    folder = shutil.copytree(EARLIER, tmp_path / "run")
    change_json(folder / "tokenizer.json", lambda tokenizer: tokenizer.update(model={}))
    name_in_manifest(folder, "tokenizer.json")
    assert run("predict", folder, messages, tmp_path / "answers.jsonl") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: expected a tokenizer in")


def test_a_run_of_an_earlier_version_says_once_what_is_unchecked(tmp_path, messages, capsys):
    folder = shutil.copytree(EARLIER, tmp_path / "run")
    predict = ("predict", folder, messages)
    assert run(*predict, tmp_path / "first.jsonl", "--backend", "torch") == 0
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "earlier version" in one]
    assert "the manifest's own values, tokenizer_config.json go unnoticed" in line
    assert run("export", folder, "--format", "onnx") == 0
    assert "tokenizer_config.json" in load_manifest(folder).sha256
    capsys.readouterr()
    assert run(*predict, tmp_path / "again.jsonl", "--backend", "torch") == 0
    assert "earlier version" not in capsys.readouterr().err
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "first.jsonl").read_bytes()
    change_json(folder / "tokenizer_config.json", lambda c: c.update(padding_side="left"))
    assert run(*predict, tmp_path / "left.jsonl") == 2


def test_calibrating_again_adopts_nothing_that_changed(copy, messages, capsys):
    change_json(copy / "tokenizer_config.json", lambda c: c.update(padding_side="left"))
    assert run("eval", copy, "--calibrate", "evaluation.bootstrap_samples=0") == 2
    assert "tokenizer_config.json is not the file" in capsys.readouterr().err


def test_a_folder_of_links_loads(copy, tmp_path):
    """A hub's cache is one."""
    linked = tmp_path / "linked"
    for path in [path for path in copy.rglob("*") if path.is_file()]:
        link = linked / path.relative_to(copy)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert SmsClassifier.from_pretrained(linked).predict(TEXTS) == SmsClassifier.from_pretrained(
        copy
    ).predict(TEXTS)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_weights_are_read_and_not_mapped(copy, backend):
    """A copy over a mapped file ends the process by a bus error."""
    classifier = SmsClassifier.from_pretrained(copy, backend=backend, device="cpu")
    before = classifier.predict(TEXTS)
    assert str(copy) not in Path("/proc/self/maps").read_text("utf-8")
    shutil.rmtree(copy)
    assert classifier.predict(TEXTS) == before


def test_without_the_weights_the_exported_form_answers(copy, messages, capsys):
    assert run("predict", copy, messages, copy.parent / "with.jsonl", "--backend", "onnx") == 0
    (copy / "model.safetensors").unlink()
    assert run("predict", copy, messages, copy.parent / "without.jsonl") == 0
    assert (copy.parent / "with.jsonl").read_bytes() == (copy.parent / "without.jsonl").read_bytes()
    assert run("predict", copy, messages, copy.parent / "x.jsonl", "--backend", "torch") == 2
    assert "expected model.safetensors" in capsys.readouterr().err
