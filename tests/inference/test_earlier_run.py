"""A run that an earlier version left, as it lies in tests/fixtures, answers as it did then."""

from __future__ import annotations

import json

import pytest
from doors import ROOT

from smstune import SmsClassifier

#: Left by commit 85e36b6 (version 0.1.0), with the answers that it gave to five messages.
RUN = ROOT / "tests/fixtures/run_of_85e36b6"


def test_a_run_of_the_first_version_loads_and_answers_the_same():
    expected = json.loads((RUN / "answers.json").read_text("utf-8"))
    classifier = SmsClassifier.from_pretrained(RUN, device="cpu", precision="fp32")
    predictions = classifier.predict([row["text"] for row in expected])
    for row, prediction in zip(expected, predictions, strict=True):
        assert prediction.label == row["label"]
        assert prediction.decision == row["decision"]
        assert prediction.note == row["note"]
        assert prediction.scores == pytest.approx(row["scores"], abs=1e-5)
