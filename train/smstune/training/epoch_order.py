"""The order of the messages in an epoch, and the share of each process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def shared_batches(order: list[int], batch_size: int, processes: int) -> list[list[int]]:
    """Cut ``order`` into batches that ``processes`` take in turn: batch i is process i mod n's.

    Each turn holds the messages of the batch of ``batch_size * processes`` that one process would
    take. The last, incomplete one is dealt out evenly; where it has fewer messages than there are
    processes, each of them is dealt equally often, so that the mean over the turn stays theirs.
    """
    turn = batch_size * processes
    whole = len(order) // turn * turn
    batches = [order[start : start + batch_size] for start in range(0, whole, batch_size)]
    remaining = order[whole:]
    if remaining:
        copies = -(-processes // len(remaining))
        shares = np.array_split(remaining * copies, processes)
        batches += [share.tolist() for share in shares]
    return batches


_POOL = 50


class EpochOrder(TrainerCallback):
    """Set the order of each epoch: batches of similar length, in random order.

    The stock length-grouped sampler sorts 50 batches at a time and serves them longest first.
    Length goes with the label in SMS, so that the loss swings and hardly falls (FBS, step 180:
    1.89, with this order 0.74; docs/experiments.md), and it draws from the global generator, whose
    state a run resumed in mid-epoch cannot know. This order follows from seed and epoch alone.
    With ``balanced`` an epoch draws as many messages of each label, with replacement.
    """

    def __init__(self, *, balanced: bool = False) -> None:
        self._balanced = balanced

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Give the batch sampler the order of the epoch that begins."""
        loader = kwargs["train_dataloader"]
        batches = loader.batch_sampler
        rng = np.random.default_rng([args.seed, int(state.epoch or 0)])
        lengths = np.asarray(loader.dataset[args.length_column_name])
        rows = rng.permutation(len(lengths))
        if self._balanced:
            rows = balanced_rows(np.asarray(loader.dataset["labels"]), rng)
        # Of a whole optimizer step, so that accumulation does not change what a step sees.
        size, processes = batches.batch_size, args.world_size
        step = size * args.gradient_accumulation_steps * processes
        order = length_grouped_order(lengths, rows, step, rng)
        if processes == 1:
            batches.sampler = order
        else:
            # Here accelerate's shard, which would fill the last batch with messages taken twice.
            batches.batch_sampler = shared_batches(order, size, processes)
            batches.even_batches = False


def balanced_rows(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return as many rows as there are labels given, drawn so that each label is as likely."""
    counts = np.bincount(labels)
    shares = 1 / counts[labels]
    return rng.choice(len(labels), len(labels), p=shares / shares.sum())


def length_grouped_order(
    lengths: NDArray[np.int64],
    rows: NDArray[np.int64],
    batch_size: int,
    rng: np.random.Generator,
) -> list[int]:
    """Return ``rows`` in an order whose consecutive batches hold messages of similar length.

    Pools of 50 batches are sorted by length and cut; the batches are shuffled, but for the
    longest, which comes first so that a memory too small is known at once, and the incomplete one,
    which comes last.
    """
    pools = np.split(rows, range(_POOL * batch_size, len(rows), _POOL * batch_size))
    rows = np.concatenate([pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools])
    whole = len(rows) // batch_size * batch_size
    batches = rows[:whole].reshape(-1, batch_size)
    batches = batches[rng.permutation(len(batches))]
    if len(batches):
        longest = lengths[batches].max(axis=1).argmax()
        batches[[0, longest]] = batches[[longest, 0]]
    order: list[int] = [*batches.ravel().tolist(), *rows[whole:].tolist()]
    return order
