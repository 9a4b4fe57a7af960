"""A tokenizer trained twice is the same: several processes and a resumed run each train it anew."""

from __future__ import annotations

import csv

from doors import SAMPLE

from train.data.tokenization import build_tokenizer


def test_same_texts_give_the_same_tokenizer():
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    first, second = (build_tokenizer(texts, 3000) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first.vocab_size == 3000
    assert "##4" in first.get_vocab()
    assert first.tokenize("[URL]您##4")[-1] == "4"
