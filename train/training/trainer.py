"""What transformers' Trainer is given of ours: the loss and the order of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from train.modeling.losses import Loss


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
    """Give the sampler a generator of its own, seeded anew each epoch.

    The stock sampler draws its order from the global generator, whose state at the start of a
    half-done epoch a resumed run cannot know; so, a run resumed at any step sees the same batches.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Seed the order of the epoch that begins."""
        batches = kwargs["train_dataloader"].batch_sampler
        # Several processes each wrap the one batch sampler in their shard of it.
        batches = getattr(batches, "batch_sampler", batches)
        generator = torch.Generator().manual_seed(args.seed + int(state.epoch or 0))
        batches.sampler.generator = generator
