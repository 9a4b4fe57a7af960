"""The campaign of each message, its size and its first time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from smstune.arrays import Ints
from smstune.campaigns.grouping import group
from smstune.campaigns.sketch import Sketches
from smstune.data.collect import Collected
from smstune.tables.times import parse_times

_NEVER = np.iinfo(np.int64).max


class Campaigns(NamedTuple):
    """The campaign of each row, the index of its first; size and first time by that index.

    Sizes count exact copies. A time is "not a time" where no message of the campaign has one.
    """

    groups: Ints
    sizes: Ints
    began: NDArray[np.datetime64]


def find_campaigns(collected: Collected, sketches: Sketches) -> Campaigns:
    """Return near-duplicate groups, joined where the user's own column says they are one."""
    groups = _named_together(group(sketches), collected)
    sizes = np.zeros(len(groups), dtype=np.int64)
    np.add.at(sizes, groups, collected.copies)
    began = np.full(len(groups), _NEVER)
    start = 0
    for batch in collected.batches("time"):
        here = groups[start : start + len(batch)]
        start += len(batch)
        if batch["time"].null_count < len(batch):
            moments = parse_times(batch["time"].to_pylist())
            known = ~np.isnat(moments)
            np.minimum.at(began, here[known], moments[known].astype(np.int64))
    began[began == _NEVER] = np.datetime64("NaT").astype(np.int64)
    return Campaigns(groups, sizes, began.view("datetime64[s]"))


def _named_together(groups: Ints, collected: Collected) -> Ints:
    """Return the groups after those with a row of the same name became one."""
    rows, names = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    start = 0
    for batch in collected.batches("campaign"):
        here = np.flatnonzero(batch["campaign"].is_valid().to_numpy(zero_copy_only=False))
        digests = [
            xxhash.xxh3_64_intdigest(one.encode())
            for one in batch["campaign"].drop_null().to_pylist()
        ]
        rows.append(here + start)
        names.append(np.array(digests, dtype=np.uint64))
        start += len(batch)
    named = np.concatenate(rows)
    if not len(named):
        return groups
    known, at = np.unique(groups[named], return_inverse=True)
    _, name = np.unique(np.concatenate(names), return_inverse=True)
    # Rows are edges between their near-duplicate group and their named one.
    size = len(known) + int(name.max()) + 1
    ends = (at, name + len(known))
    edges = coo_array((np.ones(len(named), dtype=np.bool_), ends), shape=(size, size))
    component = connected_components(edges, directed=False)[1][: len(known)]
    # `known` is sorted, so the first group of a component is its smallest.
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    place = np.minimum(np.searchsorted(known, groups), len(known) - 1)
    return np.where(known[place] == groups, known[first[inverse]][place], groups)
