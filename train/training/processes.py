"""Several processes: each one's share of the batches."""

from __future__ import annotations

import numpy as np


def shared_batches(order: list[int], batch_size: int, processes: int) -> list[list[int]]:
    """Cut ``order`` into batches that ``processes`` take in turn: batch i is process i mod n's.

    Each turn holds the messages of the batch of ``batch_size * processes`` that one process would
    take. The last, incomplete one is dealt out evenly; where it has fewer messages than there are
    processes, each of them is dealt equally often, so that the mean over the turn stays theirs.
    """
    turn = batch_size * processes
    whole = len(order) // turn * turn
    batches = [order[start : start + batch_size] for start in range(0, whole, batch_size)]
    rest = order[whole:]
    if rest:
        copies = -(-processes // len(rest))
        batches += [part.tolist() for part in np.array_split(rest * copies, processes)]
    return batches
