"""Splits: no group straddles, every label everywhere, contamination measured."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.split import FRACTIONS, contamination, split_at_random, split_by_group


@st.composite
def labelled_groups(draw):
    """Rows of groups that each have one label."""
    label_of_group = draw(st.lists(st.integers(0, 4), min_size=1, max_size=60))
    sizes = draw(
        st.lists(st.integers(1, 12), min_size=len(label_of_group), max_size=len(label_of_group))
    )
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, np.array(label_of_group)[groups]


@settings(max_examples=60)
@given(labelled_groups(), st.integers(0, 5))
def test_groups_stay_whole_and_labels_reach_every_split(rows, seed):
    groups, labels = rows
    split = split_by_group(groups, labels, seed=seed)
    for group in np.unique(groups):
        assert len(set(split[groups == group])) == 1
    for label in np.unique(labels):
        if len(np.unique(groups[labels == label])) >= 3:
            assert set(split[labels == label]) == {0, 1, 2}, label


def test_fractions_are_kept_for_each_label():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 900, 3000)
    labels = groups % 3
    split = split_by_group(groups, labels)
    for label in range(3):
        shares = np.bincount(split[labels == label], minlength=3) / (labels == label).sum()
        assert np.allclose(shares, FRACTIONS, atol=0.01)


def test_a_campaign_under_two_labels_stays_whole():
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1])
    split = split_by_group(groups, labels)
    assert all(len(set(split[groups == group])) == 1 for group in range(9))
    assert set(split[labels == 0]) == set(split[labels == 1]) == {0, 1, 2}


def test_same_seed_same_split_other_seed_other_split():
    groups = np.arange(200)
    labels = groups % 2
    first = split_by_group(groups, labels, seed=1)
    assert (first == split_by_group(groups, labels, seed=1)).all()
    assert (first != split_by_group(groups, labels, seed=2)).any()


def test_random_split_is_stratified():
    labels = np.repeat([0, 1], [900, 100])
    split = split_at_random(labels)
    for label in (0, 1):
        shares = np.bincount(split[labels == label]) / (labels == label).sum()
        assert np.allclose(shares, FRACTIONS, atol=0.01)


def test_contamination_counts_exact_and_near():
    train = ["您的快递已到达菜鸟驿站，请凭取件码领取包裹", "今晚一起吃饭吗，老地方见面"]
    test = [
        "您的快递已到达菜鸟驿站，请凭取件码领取包裹",
        "您的快递已到达菜鸟驿站，请凭取件码8842领取包裹哦",
        "恭喜您获得本店周年庆抽奖资格",
        "明天上午九点开家长会",
    ]
    assert contamination(test, train) == {"exact": 0.25, "near": 0.5}
    assert contamination([], train) == {"exact": 0.0, "near": 0.0}
