"""Inputs larger than memory: no stage holds the messages, only numbers for each."""

from __future__ import annotations

import json
import random
import tracemalloc
from functools import partial

import pyarrow as pa
import pytest
from doors import run

from train.data import campaigns, collect, prepare
from train.data.dedup import campaign_groups, near_matches

ROWS, LENGTH = 4_000, 1_500


class Message(str):
    """A message that counts how many of its kind are in memory."""

    alive = most = 0

    def __new__(cls, text):
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, text)

    def __del__(self):
        Message.alive -= 1


def text(seed, length):
    rng = random.Random(seed)
    return "".join(chr(0x4E00 + rng.randrange(2000)) for _ in range(length))


@pytest.mark.parametrize("find", [campaign_groups, lambda texts: near_matches(Texts(), Texts())])
def test_grouping_holds_a_batch_of_texts(find):
    Message.most = Message.alive
    find(Texts())
    assert 0 < Message.most < Texts.count / 4


class Texts:
    """Messages that are made when they are read."""

    count = 4000

    def __len__(self):
        return self.count

    def __iter__(self):
        return (Message(text(seed, 30)) for seed in range(self.count))


@pytest.fixture
def peak():
    """Give a function that returns the most bytes held since the test began, Arrow's included."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    yield lambda: (tracemalloc.get_traced_memory()[1], pool.max_memory())
    tracemalloc.stop()
    pa.set_memory_pool(before)


def test_preparing_holds_a_part_of_the_messages(tmp_path, monkeypatch, peak):
    monkeypatch.setattr(collect, "_BATCH", 50)
    monkeypatch.setattr(campaigns, "_ROWS_AT_ONCE", 50)
    # What style gives away is measured on a sample: of as many rows as there are here by default.
    small = partial(prepare.check_shortcuts, rows=100)
    monkeypatch.setattr(prepare, "check_shortcuts", small)
    path = tmp_path / "m.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for seed in range(ROWS):
            row = {"text": text(seed, LENGTH), "label": "ab"[seed % 2]}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    assert run("prepare", path, "--output", tmp_path / "out") == 0
    print(peak())
