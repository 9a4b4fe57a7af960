"""The campaign of each message, its size and its first time."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Campaigns:
    """The campaign of each row, named by its first row; sizes and first times by that row.

    Sizes count exact copies. A time is "not a time" where no message of the campaign has one.
    """

    groups: Ints
    sizes: Ints
    began: NDArray[np.datetime64]


def find_campaigns(collected: Collected, sketches: Sketches) -> Campaigns:
    """Return groups of near-duplicates, merged where the user's group column says so."""
    groups = _merged_by_name(group(sketches), collected)
    sizes = np.zeros(len(groups), dtype=np.int64)
    np.add.at(sizes, groups, collected.copies)
    began = np.full(len(groups), _NEVER)
    start = 0
    for batch in collected.batches("time"):
        batch_groups = groups[start : start + len(batch)]
        start += len(batch)
        if batch["time"].null_count < len(batch):
            moments = parse_times(batch["time"].to_pylist())
            has_time = ~np.isnat(moments)
            np.minimum.at(began, batch_groups[has_time], moments[has_time].astype(np.int64))
    began[began == _NEVER] = np.datetime64("NaT").astype(np.int64)
    return Campaigns(groups, sizes, began.view("datetime64[s]"))


def _merged_by_name(groups: Ints, collected: Collected) -> Ints:
    """Merge near-duplicate groups that share a group name given by the user."""
    rows, digests = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    start = 0
    for batch in collected.batches("campaign"):
        named = np.flatnonzero(batch["campaign"].is_valid().to_numpy(zero_copy_only=False))
        batch_digests = [
            xxhash.xxh3_64_intdigest(name.encode())
            for name in batch["campaign"].drop_null().to_pylist()
        ]
        rows.append(named + start)
        digests.append(np.array(batch_digests, dtype=np.uint64))
        start += len(batch)
    named_rows = np.concatenate(rows)
    if not len(named_rows):
        return groups
    named_groups, group_index = np.unique(groups[named_rows], return_inverse=True)
    _, name_index = np.unique(np.concatenate(digests), return_inverse=True)
    # Rows are edges between their near-duplicate group and the group of their name.
    size = len(named_groups) + int(name_index.max()) + 1
    ends = (group_index, name_index + len(named_groups))
    edges = coo_array((np.ones(len(named_rows), dtype=np.bool_), ends), shape=(size, size))
    component = connected_components(edges, directed=False)[1][: len(named_groups)]
    # `named_groups` is sorted, so the first group of a component is its smallest.
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    position = np.minimum(np.searchsorted(named_groups, groups), len(named_groups) - 1)
    is_named = named_groups[position] == groups
    return np.where(is_named, named_groups[first[inverse]][position], groups)
