"""Tokenizers: characters that a vocabulary lacks become tokens; one trained twice is the same."""

from __future__ import annotations

import csv

from doors import SAMPLE, TINY_OVERRIDES, run
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from smstune.modeling.tokenization import add_missing_characters, build_tokenizer, load_tokenizer


def test_characters_met_twice_become_tokens(checkpoint):
    tokenizer = load_tokenizer(str(checkpoint))
    size, unknown = len(tokenizer), tokenizer.unk_token
    assert tokenizer.tokenize("买龘氺了") == ["买", unknown, unknown, "了"]
    assert add_missing_characters(tokenizer, ["买氺了", "氺 氺 [URL]", "龘"]) == ["氺"]
    assert len(tokenizer) == size + 1
    assert tokenizer.tokenize("买龘氺了[URL]") == ["买", unknown, "氺", "了", "[URL]"]
    assert add_missing_characters(tokenizer, ["氺氺"]) == []


def test_run_keeps_the_characters_of_its_messages(config_file, checkpoint, tmp_path):
    # A vocabulary without a character that the tiny messages have often.
    bare = tmp_path / "bare"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.backend_tokenizer.model = type(tokenizer.backend_tokenizer.model)(
        {
            ("<lost>" if token == "您" else token): row
            for token, row in tokenizer.get_vocab().items()
            if row < tokenizer.vocab_size
        },
        unk_token="[UNK]",
    )
    model.base_model.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    assert load_tokenizer(str(bare)).tokenize("您好")[0] == "[UNK]"
    overrides = (f"model.name_or_path={bare}", "training.max_steps=2")
    output = tmp_path / "run"
    arguments = (*TINY_OVERRIDES, *overrides, f"training.output_dir={output}")
    assert run("finetune", config_file, *arguments) == 0
    kept = AutoTokenizer.from_pretrained(output)
    assert kept.tokenize("您好")[0] == "您"
    trained = AutoModelForSequenceClassification.from_pretrained(output)
    assert trained.get_input_embeddings().num_embeddings >= len(kept)


def test_same_texts_give_the_same_tokenizer():
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    first, second = (build_tokenizer(texts, 3000) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first.vocab_size == 3000
    assert "##4" in first.get_vocab()
    assert first.tokenize("[URL]您##4")[-1] == "4"
