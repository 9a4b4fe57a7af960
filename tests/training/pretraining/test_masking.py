"""Which tokens are predicted, what the model reads instead, and what the loss is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from smstune.inference.tokenization import Padding
from smstune.modeling.masked_language import PredictedPositions
from smstune.modeling.tokenization import build_encoder
from smstune.text.pii.placeholders import PLACEHOLDERS
from smstune.training.pretraining.masked_trainer import message_scores
from smstune.training.pretraining.masking import (
    IGNORED,
    MaskedCollator,
    MaskedRows,
    Vocabulary,
    can_predict,
    encode_units,
)

TEXTS = [
    "您的快递已到达驿站，请凭取件码[CODE]领取",
    "中国工商银行通知：回复TD退订[PHONE]",
    "[URL][PHONE]",
] * 40


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return AutoTokenizer.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def masked(tokenizer):
    encoder = build_encoder(tokenizer, 64)
    vocabulary = Vocabulary.of(tokenizer, encoder)
    rows = encode_units(TEXTS, encoder, vocabulary)
    return rows, vocabulary


def test_special_tokens_placeholders_and_unknown_ones_are_never_predicted(masked, tokenizer):
    rows, vocabulary = masked
    never = {
        *tokenizer.all_special_ids,
        *tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS)),
    } - {tokenizer.mask_token_id}
    usable = can_predict(rows)
    assert len(usable) == 80
    masked_rows = MaskedRows(rows.select(usable), vocabulary, 0.5, seed=0)
    predicted = {label for row in masked_rows for label in row["labels"]} - {IGNORED}
    assert len(predicted) > 10
    assert not predicted & never
    # Nor does a random token look like one of them.
    assert not set(vocabulary.ordinary_ids.tolist()) & never


def test_words_are_predicted_whole(masked, tokenizer):
    rows, vocabulary = masked
    masked_rows = MaskedRows(rows, vocabulary, 0.2, seed=0)
    word = tokenizer.convert_tokens_to_ids(["快", "递"])
    position = rows[0]["input_ids"].index(word[0])
    assert rows[0]["input_ids"][position : position + 2] == word
    fates = set()
    for epoch in range(40):
        masked_rows.begin(epoch)
        labels = masked_rows[0]["labels"]
        fates.add(tuple(label != IGNORED for label in labels[position : position + 2]))
    assert fates == {(True, True), (False, False)}


def test_pieces_are_predicted_one_by_one():
    pieces = [("<unk>", 0.0), ("<mask>", 0.0), ("快递", -1.0), ("已到", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="<mask>", pad_token="<mask>", unk_token="<unk>"
    )
    fast.add_tokens(list(PLACEHOLDERS))
    encoder = build_encoder(fast, 64)
    rows = encode_units(["快递已到"], encoder, Vocabulary.of(fast, encoder))
    assert rows[0] == {"input_ids": [2, 3], "units": [0, 1], "length": 2}


def test_the_share_and_the_fates_are_those_that_were_asked_for(masked):
    rows, vocabulary = masked
    usable = rows.select(can_predict(rows))
    predictable = sum(unit >= 0 for units in usable["units"] for unit in units)
    masked_rows = MaskedRows(usable, vocabulary, 0.15, seed=1)
    fates = {"mask": 0, "same": 0, "other": 0}
    for epoch in range(20):
        masked_rows.begin(epoch)
        for row, ids in zip(masked_rows, usable["input_ids"], strict=True):
            for new, label, old in zip(row["input_ids"], row["labels"], ids, strict=True):
                if label == IGNORED:
                    assert new == old
                    continue
                assert label == old
                name = "mask" if new == vocabulary.mask_id else "same" if new == old else "other"
                fates[name] += 1
    total = sum(fates.values())
    # Whole words overshoot a little.
    assert 0.14 < total / (20 * predictable) < 0.20
    assert abs(fates["mask"] / total - 0.8) < 0.03
    assert abs(fates["same"] / total - 0.1) < 0.03


def test_masks_follow_from_seed_epoch_and_row_alone(masked):
    rows, vocabulary = masked
    usable = rows.select(can_predict(rows))
    first, again = (MaskedRows(usable, vocabulary, 0.15, seed=3) for _ in range(2))
    other = MaskedRows(usable, vocabulary, 0.15, seed=4)
    again.begin(7)
    assert [again[row] for row in range(9)] != [first[row] for row in range(9)]
    again.begin(0)
    assert [again[row] for row in (5, 2)] == [first[row] for row in (5, 2)]
    assert [other[row] for row in range(9)] != [first[row] for row in range(9)]


def test_the_output_layer_at_some_positions_gives_what_it_gives_at_all(masked, checkpoint):
    rows, vocabulary = masked
    collate = MaskedCollator(Padding(token_id=0), "cpu")
    masked_rows = MaskedRows(rows.select(can_predict(rows)), vocabulary, 0.15, seed=0)
    batch = collate([masked_rows[row] for row in range(4)])
    labels = batch.pop("labels")
    model = AutoModelForMaskedLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    model.resize_token_embeddings(int(batch["input_ids"].max()) + 1)
    with torch.no_grad():
        everywhere = model(**batch).logits
        PredictedPositions(model).chosen = labels != IGNORED
        some = model(**batch).logits
    assert torch.allclose(some[0], everywhere[labels != IGNORED], atol=1e-5)
    # Padded, as it is among processes.
    scores = message_scores(torch.nn.functional.pad(some, (0, 0, 0, 3)), labels)
    losses = torch.nn.functional.cross_entropy(
        everywhere.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    assert np.allclose(scores[:, 0], losses.sum(1), atol=1e-4)
    assert scores[:, 2].tolist() == (labels != IGNORED).sum(1).tolist()
