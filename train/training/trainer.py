"""What transformers' Trainer is given of ours: the loss and the order of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from train.modeling.losses import Loss
from train.training.processes import shared_batches

_POOL = 50


def step_loss(loss: Loss) -> Callable[..., torch.Tensor]:
    """Return ``loss`` as the Trainer's ``compute_loss_func``.

    It is averaged over all messages of an optimizer step, so that k accumulated batches of n give
    the gradient of one of k * n.
    """

    def compute(
        outputs: SequenceClassifierOutput,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        if outputs.logits is None:
            raise ValueError("expected a model that returns logits, found one without")
        total = loss(outputs.logits.float(), labels).sum()
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    return compute


class EpochOrder(TrainerCallback):
    """Set the order of each epoch: batches of similar length, in random order.

    The stock length-grouped sampler sorts 50 batches at a time and serves them longest first.
    Length goes with the label in SMS, so that the loss swings and hardly falls (FBS, step 180:
    1.89, with this order 0.74; docs/experiments.md), and it draws from the global generator, whose
    state a run resumed in mid-epoch cannot know. This order follows from seed and epoch alone.
    """

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
        seed = args.seed + int(state.epoch or 0)
        lengths = np.asarray(loader.dataset[args.length_column_name])
        size, processes = batches.batch_size, args.world_size
        order = length_grouped_order(lengths, size * processes, seed)
        if processes == 1:
            batches.sampler = order
        else:
            # Here accelerate's shard, which would fill the last batch with messages taken twice.
            batches.batch_sampler = shared_batches(order, size, processes)
            batches.even_batches = False


def length_grouped_order(lengths: NDArray[np.int64], batch_size: int, seed: int) -> list[int]:
    """Return a permutation whose consecutive batches hold messages of similar length.

    Random pools of 50 batches are sorted by length and cut; the batches are shuffled, but for the
    longest, which comes first so that a memory too small is known at once, and the incomplete one,
    which comes last.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(lengths))
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
