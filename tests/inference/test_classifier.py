"""SmsClassifier: one answer for one text, whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from smstune.inference.classifier import SmsClassifier
from smstune.text.normalize import preprocess

TEXTS = [
    "【云禾银行】您的账户支出350元，余额1208元。",
    "短",
    "恭喜！点击 http://t.example/ab12 领取大奖，" * 8,
    "【云禾银行】您的账户支出350元，余额1208元。",
    "",
]


@pytest.fixture(scope="module")
def classifier(finished_run):
    return SmsClassifier.from_pretrained(finished_run, precision="fp32")


def test_probabilities_are_those_of_plain_transformers_calibrated(classifier, finished_run):
    model = AutoModelForSequenceClassification.from_pretrained(finished_run).eval()
    tokenizer = AutoTokenizer.from_pretrained(finished_run)
    temperature = classifier.run.manifest.calibration.temperature
    assert temperature != 1
    for text, row in zip(TEXTS, classifier.predict_proba(TEXTS), strict=True):
        clean = preprocess(text, mask=True)
        batch = tokenizer(clean, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            expected = (model(**batch).logits / temperature).softmax(-1)[0].numpy()
        assert np.allclose(row, expected, atol=1e-5)


def test_order_is_kept_and_company_does_not_matter(classifier):
    together = classifier.predict_proba(TEXTS)
    assert together.shape == (5, 4)
    assert np.allclose(together.sum(axis=1), 1)
    for index, text in enumerate(TEXTS):
        assert np.allclose(together[index], classifier.predict_proba([text])[0], atol=1e-5)


def test_identical_messages_are_scored_once(classifier, monkeypatch):
    seen = []
    encoder_logits = classifier.encoder_logits

    def counted(texts, *args):
        seen.extend(texts)
        return encoder_logits(texts, *args)

    monkeypatch.setattr(classifier, "encoder_logits", counted)
    # Obfuscated copies are identical once normalised and masked.
    texts = ["加微信 a", "加\u200b微信 ａ", "加微信 a", "别的"]
    assert len(classifier.predict_proba(texts)) == 4
    assert len(seen) == 2


def test_odd_messages_are_answered_and_marked(classifier):
    empty, long, plain = classifier.predict(["", "长" * 100_000, "你好"])
    assert empty.note == "empty message"
    assert long.note == "cut to 17085 characters"
    assert plain.note is None
    for answer in (empty, long, plain):
        assert answer.label == max(answer.scores, key=answer.scores.get)
        assert answer.score == pytest.approx(max(answer.scores.values()))


def test_no_message_no_answer(classifier):
    assert classifier.predict_proba([]).shape == (0, 4)
    assert classifier.predict([]) == []
