"""A tiny world: messages prepared, a tiny BERT, a run fine-tuned from it, all by the doors."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

# Before anything imports a Hugging Face library: no test may reach for the network.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
# In English, wherever the tests run.
os.environ["LC_ALL"] = "C.UTF-8"

import pytest
import torch
from doors import LABELS, LEARNING_OVERRIDES, ROOT, TINY_OVERRIDES, run
from hub_server import TOKEN, Hub
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils import _http
from transformers import BertConfig, BertModel

import smstune.deploy.hub.publish
from smstune.modeling.tokenization import build_tokenizer

# A shell that starts the suite in the background lets it ignore Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Sums in one order, so that runs can be compared bit for bit whatever the machine's cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _english(monkeypatch) -> None:
    """Let a test that asks for Chinese change nothing for the next one."""
    monkeypatch.setattr("smstune.language._language", "en")
    monkeypatch.setenv("LANGUAGE", "en")


@pytest.fixture(scope="session")
def messages() -> Path:
    """Return a csv of some 150 messages of four labels.

    They are those of an early sample, kept so that the tiny models of the tests learn the same
    whenever the sample changes.
    """
    return ROOT / "tests/fixtures/messages.csv"


@pytest.fixture(scope="session")
def labels_file(tmp_path_factory) -> Path:
    """Return a label file: not in alphabetical order, with parents."""
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"
    parents = ("normal", "marketing", "fraud", "illegal")
    lines = [
        f"  - {{name: {name}, parent: {parent}}}"
        for name, parent in zip(LABELS, parents, strict=True)
    ]
    path.write_text("labels:\n" + "\n".join(lines[::-1]) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, messages, labels_file) -> Path:
    """Return the prepared folder of the tiny messages."""
    output = tmp_path_factory.mktemp("prepared") / "tiny"
    assert run("prepare", messages, "--labels", labels_file, "--output", output) == 0
    return output


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, messages) -> Path:
    """Return a tiny pretrained encoder, stored in fp16 as many are."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny-bert"
    with messages.open(encoding="utf-8") as stream:
        tokenizer = build_tokenizer((row["text"] for row in csv.DictReader(stream)), 600)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer) - 14,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).half().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def config_file(tmp_path_factory, prepared, checkpoint) -> Path:
    """Return a configuration that fine-tunes the tiny encoder on the tiny messages."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(f"data:\n  path: {prepared}\nmodel:\n  name_or_path: {checkpoint}\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, config_file) -> Path:
    """Return the run folder of the tiny fine-tune."""
    output = tmp_path_factory.mktemp("runs") / "tiny"
    assert run("finetune", config_file, *TINY_OVERRIDES, f"training.output_dir={output}") == 0
    return output


@pytest.fixture(scope="session")
def learned_run(tmp_path_factory, config_file) -> Path:
    """Return the run folder of a tiny fine-tune that tells its labels apart."""
    output = tmp_path_factory.mktemp("runs") / "learned"
    assert run("finetune", config_file, *LEARNING_OVERRIDES, f"training.output_dir={output}") == 0
    return output


@pytest.fixture(scope="session")
def joined_run(tmp_path_factory, config_file) -> Path:
    """Return an evaluated run whose encoder has a linear model beside it."""
    output = tmp_path_factory.mktemp("runs") / "joined"
    joined = ("model.linear=true", "model.pooling=mean", f"training.output_dir={output}")
    assert run("finetune", config_file, *TINY_OVERRIDES, *joined) == 0
    assert run("eval", output, "evaluation.bootstrap_samples=50") == 0
    return output


@pytest.fixture(scope="session")
def evaluated_run(tmp_path_factory, learned_run) -> Path:
    """Return a copy of the learned run with an operating point and an evaluation of test."""
    run_folder = tmp_path_factory.mktemp("runs") / "evaluated"
    shutil.copytree(learned_run, run_folder)
    # The tiny validation split shows little, and least for the best of twenty checkpoints.
    budget = "{labels: [fraud], max_false_positive_rate: 0.8, confidence: 0.4}"
    point = f"evaluation.operating_points={{stop: {budget}}}"
    assert run("eval", run_folder, "--calibrate", point, "evaluation.bootstrap_samples=50") == 0
    return run_folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return a hub on this machine, which the client in this process speaks to."""
    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Publishing turns this on for any hub but the official one; afterwards it is as it was.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", constants.HF_HUB_DISABLE_XET)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(smstune.deploy.hub.publish, "TIMEOUT", 1.0)
    # The client waits between its attempts, up to 8 seconds.
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _seconds: None))
    yield server
    server.close()
    set_client_factory(_http.default_client_factory)
