"""How much of the test set train has already seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smstune.arrays import Assigned, Flags
from smstune.campaigns.grouping import match, near_matches
from smstune.campaigns.sketch import Sketches
from smstune.data.collect import Collected
from smstune.data.splits.assign import SplitChoice
from smstune.data.splits.methods import TEST, split_at_random

#: Test messages that contamination is measured on, drawn at random where there are more.
TEST_SAMPLE = 20_000


def measure_contamination(
    assigned: Assigned, choice: SplitChoice, collected: Collected, sketches: Sketches
) -> dict[str, Any]:
    """Return the shares of test with an exact and a near copy in train, random split beside it."""
    splits = {
        choice.method: assigned,
        "random": split_at_random(collected.label_ids, seed=choice.seed),
    }
    return {name: _copied(split, collected, sketches, choice) for name, split in splits.items()}


def _copied(
    assigned: Assigned, collected: Collected, sketches: Sketches, choice: SplitChoice
) -> dict[str, float]:
    test, train = np.flatnonzero(assigned == TEST), np.flatnonzero(assigned == 0)
    drawn = np.random.default_rng(choice.seed).permutation(len(test))[:TEST_SAMPLE]
    test = test[np.sort(drawn)]
    known = collected.fingerprints
    exact = np.isin(known[test], known[train])
    return _shares(exact, match(sketches, test, train) >= 0)


def contamination(test: Sequence[str], train: Sequence[str]) -> dict[str, float]:
    """Return the share of ``test`` with an ``exact`` and with a ``near`` copy in ``train``.

    Near means a Jaccard similarity of at least 0.7 over character n-grams, exact copies included
    (see ``near_matches``). Both are 0 where there is no test message.
    """
    known = set(train)
    exact = np.array([text in known for text in test], dtype=bool)
    return _shares(exact, near_matches(test, train) >= 0)


def _shares(exact: Flags, near: Flags) -> dict[str, float]:
    """Return the shares of test messages with an exact copy, and with any copy, in train."""
    if not len(exact):
        return {"exact": 0.0, "near": 0.0}
    return {"exact": float(exact.mean()), "near": float((exact | near).mean())}
