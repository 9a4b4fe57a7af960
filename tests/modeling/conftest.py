"""Tiny encoders of any architecture, with the tokenizer of the tiny BERT."""

from __future__ import annotations

import shutil

import pytest
import torch
import transformers


@pytest.fixture
def encoder(checkpoint, tmp_path):
    """Return what saves a tiny random encoder, with the tiny tokenizer, and returns its folder."""

    def save(config_class, sizes):
        folder = tmp_path / "encoder"
        shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("model*", "config.json"))
        torch.manual_seed(0)
        vocab_size = len(transformers.AutoTokenizer.from_pretrained(checkpoint))
        config = getattr(transformers, config_class)(vocab_size=vocab_size, **sizes)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        return folder

    return save
