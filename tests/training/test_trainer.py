"""The order of an epoch: every message once, neighbours alike, batches shuffled."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smstune.training.epoch_order import balanced_rows, length_grouped_order


def order_of(lengths, batch_size, seed):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(lengths))
    return length_grouped_order(lengths, rows, batch_size, rng)


@given(st.lists(st.integers(1, 99), max_size=300), st.integers(1, 9), st.integers(0, 3))
def test_every_message_once(lengths, batch_size, seed):
    order = order_of(np.array(lengths, dtype=int), batch_size, seed)
    assert sorted(order) == list(range(len(lengths)))


def test_batches_are_of_similar_length_in_random_order_longest_first():
    lengths = np.random.default_rng(0).integers(5, 100, 3200)
    order = order_of(lengths, 32, seed=1)
    batches = lengths[order].reshape(-1, 32)
    assert (batches.max(axis=1) * 32).sum() < 1.05 * lengths.sum()
    assert batches[0].max() == lengths.max()
    means = batches.mean(axis=1)
    assert abs(np.corrcoef(means[1:-1], means[2:])[0, 1]) < 0.3
    assert order != order_of(lengths, 32, seed=2)
    assert order == order_of(lengths, 32, seed=1)


def test_balanced_rows_draw_every_label_as_often():
    labels = np.array([0] * 2900 + [1] * 90 + [2] * 10)
    rows = balanced_rows(labels, np.random.default_rng(0))
    assert len(rows) == 3000
    shares = np.bincount(labels[rows]) / 3000
    assert np.abs(shares - 1 / 3).max() < 0.03
