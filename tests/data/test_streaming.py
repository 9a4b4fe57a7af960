"""Inputs larger than memory: no stage holds the messages, only numbers for each."""

from __future__ import annotations

import json
import random
from functools import partial

import pyarrow as pa
import pytest
from doors import run

from smstune.campaigns.grouping import campaign_groups, near_matches
from smstune.data import collect, prepare
from smstune.data.collect import Collected
from smstune.data.report import sample
from smstune.data.report import statistics as campaigns
from smstune.data.splits import files as split_files
from smstune.inference.manifest import TextOptions

ROWS, LENGTH = 500, 3_000


class Message(str):
    """A message that counts how many of its kind are in memory."""

    alive = most = 0

    def __new__(cls, text):
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, text)

    def __del__(self):
        Message.alive -= 1


class Messages:
    """Messages that are made when they are read."""

    def __len__(self):
        return 4_000

    def __iter__(self):
        return (Message(text(seed, 30)) for seed in range(len(self)))


def text(seed, length):
    return "".join(map(chr, random.Random(seed).choices(range(0x4E00, 0x9000), k=length)))


@pytest.mark.parametrize("find", [campaign_groups, lambda texts: near_matches(texts, texts)])
def test_grouping_holds_a_batch_of_texts(find):
    Message.most = Message.alive
    find(Messages())
    assert 0 < Message.most < len(Messages()) / 4


@pytest.fixture
def pool():
    """Return a pool that counts what Arrow holds from now on."""
    before = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counting)
    yield counting
    pa.set_memory_pool(before)


def test_preparing_holds_a_part_of_the_messages(tmp_path, monkeypatch, pool):
    monkeypatch.setattr(collect, "ROWS_AT_ONCE", 20)
    monkeypatch.setattr(campaigns, "ROWS_AT_ONCE", 20)
    monkeypatch.setattr(split_files, "BYTES_AT_ONCE", 1 << 18)
    # By default the sample that style is judged on would be the whole set here.
    monkeypatch.setattr(sample, "STRATUM_ROWS", 20)
    monkeypatch.setattr(prepare, "check_shortcuts", partial(prepare.check_shortcuts, rows=50))
    cleaned, read = TextOptions.preprocess, Collected.texts
    monkeypatch.setattr(
        TextOptions, "preprocess", lambda options, text: Message(cleaned(options, text))
    )
    monkeypatch.setattr(Collected, "texts", lambda self: map(Message, read(self)))
    path = tmp_path / "m.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for seed in range(ROWS):
            row = {"text": text(seed, LENGTH), "label": "ab"[seed % 2]}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    Message.most = Message.alive
    assert run("prepare", path, "--output", tmp_path / "out") == 0
    assert 0 < Message.most < ROWS / 4
    assert 0 < pool.max_memory() < path.stat().st_size / 2
