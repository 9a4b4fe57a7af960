"""Splits: no group straddles, every label everywhere, contamination measured."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smstune.data.splits.contamination import contamination
from smstune.data.splits.methods import (
    FRACTIONS,
    SET_ASIDE,
    kfold_by_group,
    split_around_test,
    split_at_random,
    split_by_group,
    split_by_time,
)
from smstune.errors import UserError
from smstune.inference.origin import Contamination
from smstune.tables.times import read_time


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
    assert contamination(test, train) == Contamination(exact=0.25, near=0.5)
    assert contamination([], train) == Contamination(exact=0.0, near=0.0)


@settings(max_examples=60)
@given(labelled_groups(), st.integers(2, 6), st.integers(0, 5))
def test_folds_keep_groups_whole_and_hold_every_label_that_can(rows, folds, seed):
    groups, labels = rows
    if len(np.unique(groups)) < folds:
        with pytest.raises(UserError, match="fewer folds"):
            kfold_by_group(groups, labels, folds=folds, seed=seed)
        return
    fold = kfold_by_group(groups, labels, folds=folds, seed=seed)
    assert set(fold) <= set(range(folds))
    for group in np.unique(groups):
        assert len(set(fold[groups == group])) == 1
    for label in np.unique(labels):
        mine = labels == label
        if len(np.unique(groups[mine])) >= folds:
            assert set(fold[mine]) == set(range(folds)), label


def test_folds_are_of_one_size_for_each_label_and_in_all():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 900, 3000)
    labels = groups % 7
    fold = kfold_by_group(groups, labels, folds=5)
    for label in range(7):
        assert np.allclose(
            np.bincount(fold[labels == label]) / (labels == label).sum(), 0.2, atol=0.01
        )
    # Forty labels of one campaign each: none is stratified, yet no fold takes them all.
    lonely = np.arange(40)
    assert np.bincount(kfold_by_group(lonely, lonely, folds=5)).tolist() == [8] * 5


@pytest.mark.parametrize("folds", [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(folds):
    with pytest.raises(UserError, match="at least 2 folds"):
        kfold_by_group(np.arange(9), np.zeros(9, dtype=int), folds=folds)


@st.composite
def dated_groups(draw):
    """Rows in any order: their groups, and times that repeat, of one precision or another."""
    rows = draw(
        st.lists(st.tuples(st.integers(0, 25), st.integers(0, 400)), min_size=3, max_size=80)
    )
    wanted = draw(st.sampled_from(["%Y-%m-%d %H:%M", "%Y.%m.%d", "%Y/%m"]))
    groups, days = np.array(rows).T
    start = datetime(2014, 3, 9, 11, 38)
    return groups, [(start + timedelta(days=int(day) // 2 * 2)).strftime(wanted) for day in days]


@settings(max_examples=60)
@given(dated_groups())
def test_train_begins_before_validation_and_validation_before_test(rows):
    groups, times = rows
    moments = np.array([read_time(time).moment for time in times])
    began = np.array([moments[groups == group].min() for group in groups])
    if len(set(began)) < 3:
        with pytest.raises(UserError, match="three different times"):
            split_by_time(groups, times)
        return
    split = split_by_time(groups, times)
    assert set(split) == {0, 1, 2}
    for group in np.unique(groups):
        assert len(set(split[groups == group])) == 1
    # Strictly: rows that begin at one time are in one split.
    assert began[split == 0].max() < began[split == 1].min()
    assert began[split == 1].max() < began[split == 2].min()


def test_time_cuts_at_70_and_80_percent_whatever_the_order():
    order = np.random.default_rng(0).permutation(1000)
    start = datetime(2015, 1, 1)
    times = [(start + timedelta(hours=int(hour))).isoformat() for hour in order]
    split = split_by_time(order, times)
    assert np.bincount(split).tolist() == [700, 100, 200]
    assert set(split[order < 700]) == {0}
    assert set(split[order >= 800]) == {2}
    # A campaign goes where it began, even if it is still sent at the end.
    assert (
        split_by_time(np.array([0, 1, 2, 3, 0]), ["2011", "2012", "2013", "2014", "2015"])[4] == 0
    )


def test_a_large_first_time_leaves_the_other_splits_their_share():
    times = ["2011/4"] * 90 + [f"2011/5/{day}" for day in range(1, 31)]
    assert np.bincount(split_by_time(np.arange(120), times)).tolist() == [90, 10, 20]
    times = ["2011/4"] * 97 + ["2011/5", "2011/6"]
    assert np.bincount(split_by_time(np.arange(99), times)).tolist() == [97, 1, 1]


def test_rows_without_time_are_counted():
    times = ["2010/11", "unknown", None, "2010.11.02", "", "2015-03-09 11:38"]
    with pytest.raises(UserError, match=r"none in 3 of 6 rows"):
        split_by_time(np.arange(6), times)


@settings(max_examples=60)
@given(labelled_groups(), st.data(), st.integers(0, 3))
def test_a_given_test_set_stays_and_its_groups_are_set_aside(rows, data, seed):
    groups, labels = rows
    count = int(groups.max()) + 1
    sources = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count)))
    sources = sources[groups]
    # Some campaigns are in several sources.
    sources[data.draw(st.lists(st.integers(0, len(groups) - 1), max_size=5))] = "a"
    test = sources == "a"
    shared = np.isin(groups, groups[test])
    if len(np.unique(groups[~shared])) < 2:
        with pytest.raises(UserError, match="to train on"):
            split_around_test(test, shared, groups, labels, seed=seed)
        return
    split = split_around_test(test, shared, groups, labels, seed=seed)
    assert ((split == 2) == test).all()
    assert ((split == SET_ASIDE) == (shared & ~test)).all()
    for group in np.unique(groups):
        assert len(set(split[groups == group]) - {SET_ASIDE}) == 1
    for label in np.unique(labels):
        if len(np.unique(groups[(labels == label) & ~shared])) >= 2:
            assert {0, 1} <= set(split[labels == label])


def test_what_is_not_test_goes_seven_to_one():
    groups = np.arange(1000)
    test = groups % 5 == 0
    split = split_around_test(test, test, groups, groups % 2)
    assert np.bincount(split).tolist() == [700, 100, 200]


def test_more_folds_than_a_byte_counts():
    fold = kfold_by_group(np.arange(300), np.zeros(300, dtype=int), folds=129)
    assert np.unique(fold).tolist() == list(range(129))
