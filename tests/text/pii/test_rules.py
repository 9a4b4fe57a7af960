"""Each rule finds what its examples say, and leaves alone what they say."""

from __future__ import annotations

import pytest

from smstune.text.pii.find import RULES

NAMED = [pytest.param(rule, id=f"{number}-{rule.kind}") for number, rule in enumerate(RULES)]


def found(rule, text):
    return [text[span.start : span.end] for span in rule.spans(text)]


@pytest.mark.parametrize("rule", NAMED)
def test_every_rule_has_two_examples_of_each_kind(rule):
    assert len(rule.finds) >= 2
    assert len(rule.leaves) >= 2


@pytest.mark.parametrize("rule", NAMED)
def test_rule_finds_its_examples(rule):
    for text, expected in rule.finds:
        assert found(rule, text) == [expected], text


@pytest.mark.parametrize("rule", NAMED)
def test_rule_leaves_its_examples(rule):
    for text in rule.leaves:
        assert found(rule, text) == [], text
