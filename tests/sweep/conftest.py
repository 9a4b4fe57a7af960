"""Runs of a sweep without processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from smstune.config.loading import load_config
from smstune.sweep.search import train_trial
from smstune.sweep.training import train_and_score


@pytest.fixture
def trained(monkeypatch):
    """Train runs in this process instead of one of their own; gives the names of those."""
    names = []

    def train(words, usage):
        config = load_config(words[1])
        names.append(config.training.output_dir.name)
        if len(words) > 2:
            train_trial(config, Path(words[3]), int(words[4]))
        else:
            train_and_score(config)
        return 0

    monkeypatch.setattr("smstune.sweep.sweep.run_process", train)
    return names
