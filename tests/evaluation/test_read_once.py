"""In one fine-tune, and in one evaluation, each thing is read once."""

from __future__ import annotations

import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest
from doors import TINY_OVERRIDES, run
from transformers import BertForSequenceClassification

from smstune.inference.backends import torch_backend
from smstune.inference.manifest import Manifest


@pytest.fixture
def reads(monkeypatch):
    """Return a count of what is read: manifests, models, and split files by name."""
    counts: Counter[str] = Counter()

    def counted(owner, name, key):
        original = getattr(owner, name)

        def wrapper(*args, **kwargs):
            counts[key(*args, **kwargs)] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    counted(Manifest, "model_validate_json", lambda *args, **kwargs: "manifest")
    # A run's weights are read apart; without a path a model is built of what is in memory.
    counted(torch_backend, "safe_open", lambda *args, **kwargs: "model")
    counted(
        BertForSequenceClassification,
        "from_pretrained",
        lambda path, **kwargs: "in memory" if path is None else "model",
    )
    counted(pq, "read_table", lambda path, *args, **kwargs: path.name)
    return counts


def test_of_a_fine_tune_with_its_calibration(config_file, tmp_path, reads):
    overrides = [*TINY_OVERRIDES, "training.max_steps=2", "model.linear=true"]
    assert run("finetune", config_file, *overrides, f"training.output_dir={tmp_path / 'run'}") == 0
    assert reads["model"] == 1
    assert reads["train.parquet"] == 1
    assert reads["manifest"] <= 1


def test_of_an_evaluation_with_a_new_calibration(learned_run, tmp_path, reads):
    copy = tmp_path / "run"
    shutil.copytree(learned_run, copy)
    words = ("--calibrate", "--backend", "torch", "evaluation.bootstrap_samples=50")
    assert run("eval", copy, *words) == 0
    assert reads["model"] == reads["manifest"] == reads["train.parquet"] == 1
