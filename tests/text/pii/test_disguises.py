"""Recall and precision on invented messages, by type, plain and disguised: see docs."""

from __future__ import annotations

import pytest
from disguises import (
    CONTACTS,
    DISGUISES,
    Sample,
    disguised,
    false_alarms,
    plain,
    precision,
    recall,
    without_contact,
)

PLAIN = list(plain(30))
SEEN = [sample for sample in disguised(6) if not sample.disguise.unseen]
UNSEEN = [sample for sample in disguised(6) if sample.disguise.unseen]
WITHOUT = list(without_contact(700))
EMPTY = [Sample(text, ()) for text in WITHOUT]
# A little below what is measured, which docs/personal_information.md gives.
SEEN_FLOOR = dict.fromkeys(CONTACTS, 0.96) | {"SERVICE": 0.94}
UNSEEN_FLOOR = dict.fromkeys(CONTACTS, 0.95)


def all_kinds(samples: list[Sample]) -> float:
    shares = recall(samples)
    return sum(shares.values()) / len(shares)


def test_a_third_of_each_family_is_unseen():
    assert len(DISGUISES) >= 150
    assert 0.32 < sum(disguise.unseen for disguise in DISGUISES) / len(DISGUISES) < 0.34
    for kind in CONTACTS:
        assert any(disguise.unseen and kind in disguise.kinds for disguise in DISGUISES), kind


def test_every_contact_is_where_its_label_says():
    for sample in PLAIN + SEEN + UNSEEN:
        assert sample.spans
        for start, end in ((span.start, span.end) for span in sample.spans):
            assert sample.text[start:end].strip(), sample.text


@pytest.mark.parametrize("kind", CONTACTS)
def test_recall(kind):
    assert recall(PLAIN)[kind] >= 0.99
    assert recall(SEEN)[kind] >= SEEN_FLOOR[kind]
    assert recall(UNSEEN)[kind] >= UNSEEN_FLOOR[kind]


def test_recall_of_all_disguised_contacts():
    assert all_kinds(SEEN) >= 0.98
    assert all_kinds(UNSEEN) >= 0.97


@pytest.mark.parametrize("kind", CONTACTS)
def test_precision(kind):
    assert precision(PLAIN + SEEN + EMPTY)[kind] >= 0.98
    assert precision(PLAIN + UNSEEN + EMPTY)[kind] >= 0.98


def test_false_alarms_are_rare():
    assert len(false_alarms(WITHOUT)) <= 0.005 * len(WITHOUT)
