"""A run as the encoder of the next one: its head by label name, its pooling, its tokens."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from doors import TINY_OVERRIDES, change_json, run, write_csv
from hub_server import Repository
from safetensors.torch import load_file
from transformers import AutoTokenizer

from smstune import SmsClassifier
from smstune.text.pii.placeholders import PLACEHOLDERS

#: Nothing is learned, so that what was taken over is what the new run has.
STILL = ("training.max_steps=1", "training.learning_rate=1e-12")
#: Of other words than every other message.
NEW_LABEL = "weather"
CITIES = ("北京", "上海", "广州", "深圳", "杭州", "成都", "武汉", "西安", "南京", "天津")


def continued(config_file, start, data, output, *overrides):
    keys = (f"model.name_or_path={start}", f"data.path={data}", f"training.output_dir={output}")
    return run("finetune", config_file, *TINY_OVERRIDES, *STILL, *keys, *overrides)


@pytest.fixture(scope="module")
def other_labels(tmp_path_factory, messages):
    """Return a prepared folder in which one label is new, one is gone, and the order is another."""
    folder = tmp_path_factory.mktemp("other")
    with messages.open(encoding="utf-8") as stream:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    rows = [row for row in rows if row[1] != "retail"]
    rows += [(f"{city}气象台发布暴雨黄色预警{city * 9}", NEW_LABEL) for city in CITIES]
    names = ("gambling", NEW_LABEL, "bank_phishing", "bank_alert")
    (folder / "labels.yaml").write_text(f"labels: [{', '.join(names)}]\n", "utf-8")
    table = write_csv(folder / "messages.csv", rows, ("text", "label"))
    labels = ("--labels", folder / "labels.yaml")
    assert run("prepare", table, *labels, "--output", folder / "prepared") == 0
    return folder / "prepared"


def logits_by_label(folder):
    classifier = SmsClassifier.from_pretrained(folder, device="cpu", precision="fp32")
    rows = classifier.encoder_logits(["您的账户已冻结,请点击链接", "全场五折,回复TD退订"])
    return {name: rows[:, row] for row, name in enumerate(classifier.labels.names)}


def test_the_head_is_taken_over_by_the_names_of_the_labels(
    config_file, learned_run, other_labels, tmp_path, capsys
):
    pooling = "model.pooling=mean"
    capsys.readouterr()
    assert continued(config_file, learned_run, other_labels, tmp_path / "run", pooling) == 0
    log = capsys.readouterr().err
    assert f"3 labels of {learned_run} are taken over by name" in log
    assert f"new labels, which start untrained: {NEW_LABEL}" in log
    assert f"labels of {learned_run} that are dropped: retail" in log
    before, after = logits_by_label(learned_run), logits_by_label(tmp_path / "run")
    # As many labels as before, in another order: that of the new label file.
    assert list(after) == ["gambling", NEW_LABEL, "bank_phishing", "bank_alert"]
    for name in before.keys() & after.keys():
        assert after[name] == pytest.approx(before[name], abs=1e-4), name
    # A row of 0.02 times a random vector against a trained one.
    assert abs(after[NEW_LABEL]).max() < 0.5
    config = json.loads((tmp_path / "run/config.json").read_text("utf-8"))
    assert list(config["id2label"].values()) == list(after)


def test_tokens_and_their_embeddings_are_those_of_the_run(
    config_file, learned_run, other_labels, tmp_path
):
    assert continued(config_file, learned_run, other_labels, tmp_path / "run") == 0
    ours, theirs = (
        AutoTokenizer.from_pretrained(folder) for folder in (learned_run, tmp_path / "run")
    )
    ids = ours.get_added_vocab()
    assert ids.keys() >= set(PLACEHOLDERS)
    assert ids.items() <= theirs.get_added_vocab().items()
    before, after = (
        load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
        for folder in (learned_run, tmp_path / "run")
    )
    rows = list(ids.values())
    assert after[rows].flatten().tolist() == pytest.approx(before[rows].flatten().tolist())


@pytest.mark.parametrize("lora", [(), ("model.lora={rank: 2}",)], ids=["full", "lora"])
def test_the_mean_is_taken_once_however_often_a_run_is_continued(
    config_file, prepared, checkpoint, tmp_path, capsys, lora
):
    start = checkpoint
    for name in ("first", "second"):
        # Adapters change the layer that computes the mean, too.
        learning = ("training.max_steps=4", "training.learning_rate=1e-2")
        overrides = ("model.pooling=mean", *learning, *lora)
        assert continued(config_file, start, prepared, tmp_path / name, *overrides) == 0
        start = tmp_path / name
        assert n_layers(start) == 3
    assert continued(config_file, start, prepared, tmp_path / "still", "model.pooling=mean") == 0
    before, after = logits_by_label(start), logits_by_label(tmp_path / "still")
    for name, logits in before.items():
        assert after[name] == pytest.approx(logits, abs=1e-4)
    capsys.readouterr()
    assert continued(config_file, start, prepared, tmp_path / "cls", "model.pooling=cls") == 0
    assert "was trained with mean pooling, which model.pooling=cls removes" in (
        capsys.readouterr().err
    )
    assert n_layers(tmp_path / "cls") == 2


def n_layers(folder):
    names = load_file(folder / "model.safetensors")
    numbers = {name.split(".")[3] for name in names if name.startswith("bert.encoder.layer.")}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["num_hidden_layers"] == len(numbers)
    return len(numbers)


@pytest.mark.parametrize("damaged", [False, True], ids=["same", "another normaliser"])
def test_a_run_on_the_hub_is_continued_unless_of_another_normaliser(
    config_file, finished_run, prepared, tmp_path, capsys, hub, damaged
):
    start = tmp_path / "start"
    shutil.copytree(finished_run, start, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    reason = of_another_normaliser(start) if damaged else "4 labels of my-team/sms are taken over"
    repository = Repository(private=False)
    files = [path for path in start.iterdir() if path.is_file()]
    repository.commit({path.name: path.read_bytes() for path in files})
    hub.repositories["my-team/sms"] = repository
    capsys.readouterr()
    status = continued(config_file, "my-team/sms", prepared, tmp_path / "run")
    assert status == (2 if damaged else 0)
    assert reason in capsys.readouterr().err
    assert (tmp_path / "run").exists() is not damaged


def of_another_normaliser(folder):
    change_json(folder / "manifest.json", lambda m: m["text"].update(normalizer_version=0))
    return "trained under normaliser version 0"


def of_other_weights(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    return "model.safetensors is not the file that manifest.json names"


def without_a_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    return "expected tokenizer.json in the run folder"


def without_a_manifest(folder):
    (folder / "manifest.json").unlink()
    (folder / "checkpoints").mkdir(exist_ok=True)
    return "expected a finished run folder"


def with_a_broken_manifest(folder):
    (folder / "manifest.json").write_text("{", "utf-8")
    return "manifest.json is not JSON"


@pytest.mark.parametrize(
    "damage",
    [
        of_another_normaliser,
        of_other_weights,
        without_a_tokenizer,
        without_a_manifest,
        with_a_broken_manifest,
    ],
)
def test_a_run_that_cannot_be_continued_is_refused_in_one_line(
    config_file, finished_run, prepared, tmp_path, capsys, damage
):
    start = tmp_path / "start"
    shutil.copytree(finished_run, start, ignore=shutil.ignore_patterns("checkpoints"))
    reason = damage(start)
    capsys.readouterr()
    assert continued(config_file, start, prepared, tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "run").exists()
