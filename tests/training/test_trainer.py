"""The order of an epoch: every message once, neighbours alike, batches shuffled."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.training.trainer import length_grouped_order


@given(st.lists(st.integers(1, 99), max_size=300), st.integers(1, 9), st.integers(0, 3))
def test_every_message_once(lengths, batch_size, seed):
    order = length_grouped_order(np.array(lengths, dtype=int), batch_size, seed)
    assert sorted(order) == list(range(len(lengths)))


def test_batches_are_of_similar_length_in_random_order_longest_first():
    lengths = np.random.default_rng(0).integers(5, 100, 3200)
    order = length_grouped_order(lengths, 32, seed=1)
    batches = lengths[order].reshape(-1, 32)
    assert (batches.max(axis=1) * 32).sum() < 1.05 * lengths.sum()
    assert batches[0].max() == lengths.max()
    means = batches.mean(axis=1)
    assert abs(np.corrcoef(means[1:-1], means[2:])[0, 1]) < 0.3
    assert order != length_grouped_order(lengths, 32, seed=2)
    assert order == length_grouped_order(lengths, 32, seed=1)
