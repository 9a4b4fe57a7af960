"""The share of test messages that have a copy in train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smstune.arrays import Assigned, Flags
from smstune.campaigns.grouping import match, near_matches
from smstune.campaigns.sketch import Sketches
from smstune.config.choices import SplitMethod
from smstune.data.collect import Collected
from smstune.data.splits.assign import SplitChoice
from smstune.data.splits.methods import TEST, TRAIN, split_at_random
from smstune.inference.origin import Contamination

#: The most test messages that contamination is measured on; a random sample where there are more.
TEST_SAMPLE = 20_000


def measure_contamination(
    assigned: Assigned, choice: SplitChoice, collected: Collected, sketches: Sketches
) -> dict[SplitMethod, Contamination]:
    """Return the contamination of this split and, for comparison, of a random one, by method."""
    splits: dict[SplitMethod, Assigned] = {
        choice.method: assigned,
        "random": split_at_random(collected.label_ids, seed=choice.seed),
    }
    return {
        method: _copied(split, collected, sketches, choice.seed) for method, split in splits.items()
    }


def _copied(
    assigned: Assigned, collected: Collected, sketches: Sketches, seed: int
) -> Contamination:
    test, train = np.flatnonzero(assigned == TEST), np.flatnonzero(assigned == TRAIN)
    drawn = np.random.default_rng(seed).permutation(len(test))[:TEST_SAMPLE]
    test = test[np.sort(drawn)]
    fingerprints = collected.fingerprints
    exact = np.isin(fingerprints[test], fingerprints[train])
    return _shares(exact, match(sketches, test, train) >= 0)


def contamination(test: Sequence[str], train: Sequence[str]) -> Contamination:
    """Return the share of ``test`` with an exact and with a near copy in ``train``.

    Near means a Jaccard similarity of at least 0.7 over character n-grams, exact copies included
    (see ``near_matches``). Both are 0 where there is no test message.
    """
    train_texts = set(train)
    exact = np.array([text in train_texts for text in test], dtype=bool)
    return _shares(exact, near_matches(test, train) >= 0)


def _shares(exact: Flags, near: Flags) -> Contamination:
    if not len(exact):
        return Contamination(exact=0.0, near=0.0)
    return Contamination(exact=float(exact.mean()), near=float((exact | near).mean()))
