"""Groups of what pairs link, without scipy."""

from __future__ import annotations

import numpy as np

from smstune.arrays import Ints


def linked(count: int, left: Ints, right: Ints) -> Ints:
    """Return for each of ``count`` members the first one that a chain of pairs links it to.

    The pairs are ``left[i]`` and ``right[i]``.
    """
    parents = list(range(count))

    def first_of(member: int) -> int:
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    for one_end, other_end in zip(left.tolist(), right.tolist(), strict=True):
        first, second = sorted((first_of(one_end), first_of(other_end)))
        parents[second] = first
    return np.array([first_of(member) for member in range(count)], dtype=np.int64)
