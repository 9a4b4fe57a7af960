"""What transformers' Trainer is given of ours: the objective and the order of an epoch."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from train.modeling.losses import Loss
from train.training.processes import shared_batches
from train.training.regularisers import gradient_kept, layerwise_groups, moved, symmetric_divergence

_POOL = 50


class Objective(NamedTuple):
    """What a training step minimises.

    ``loss`` gives the loss of each message, ``class_weights`` the factor of each label, which
    applies from the share ``reweight_after`` of the steps on (deferred re-weighting, Cao et al.,
    2019). With ``r_drop`` above 0 every message passes twice under different dropout, and that
    many times the symmetric divergence of the two answers is added (Liang et al., 2021, equation
    4). With ``fgm`` above 0 a second pass is added whose word embeddings are moved that far, in
    each message's own norm, to where the loss grows (Miyato et al., 2017, equation 5).
    """

    loss: Loss
    class_weights: torch.Tensor | None = None
    reweight_after: float = 0.0
    r_drop: float = 0.0
    fgm: float = 0.0


class SmsTrainer(Trainer):
    """transformers' Trainer with our objective and learning rates by layer.

    The loss is averaged over all messages of an optimizer step, so that k accumulated batches of n
    give the gradient of one of k * n. The rate of a layer is ``layerwise_lr_decay`` times that of
    the layer above it (Howard and Ruder, 2018).
    """

    def __init__(
        self,
        objective: Objective,
        *,
        layerwise_lr_decay: float = 1.0,
        **trainer: Any,  # noqa: ANN401
    ) -> None:
        self.objective: Objective = objective
        self.layerwise_lr_decay = layerwise_lr_decay
        trainer["compute_loss_func"] = self._averaged_loss
        super().__init__(**trainer)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer, with a parameter group for each layer where rates differ."""
        if self.layerwise_lr_decay == 1.0 or self.optimizer is not None:
            return super().create_optimizer(model)
        trained = cast(nn.Module, self.model if model is None else model)
        make, kwargs = self.get_optimizer_cls_and_kwargs(self.args)
        decayed = set(self.get_decay_parameter_names(trained))
        groups = layerwise_groups(
            trained, kwargs["lr"], self.layerwise_lr_decay, self.args.weight_decay, decayed
        )
        self.optimizer = make(groups, **kwargs)
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the loss of a batch; R-Drop lets every message pass twice in one batch."""
        if self._twice:
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        """Accumulate the gradient of a batch, and of its adversarial twin where asked."""
        if not self.objective.fgm:
            return super().training_step(model, inputs, *args, **kwargs)
        words = self.accelerator.unwrap_model(model).get_input_embeddings()
        with gradient_kept(words) as kept:
            loss = super().training_step(model, inputs, *args, **kwargs)
        with moved(words, kept[0], self.objective.fgm):
            return loss + super().training_step(model, inputs, *args, **kwargs)

    def _averaged_loss(
        self,
        outputs: SequenceClassifierOutput,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        if outputs.logits is None:
            raise ValueError("expected a model that returns logits, found one without")
        logits = outputs.logits.float()
        messages = self.objective.loss(logits, labels)
        weights = self.objective.class_weights
        deferred = self.objective.reweight_after * self.state.max_steps
        if weights is not None and self.state.global_step >= deferred:
            messages = messages * weights[labels]
        total = messages.sum()
        size = len(labels)
        if self._twice:
            total = total + self.objective.r_drop * symmetric_divergence(*logits.chunk(2)).sum()
            size //= 2
        return total / (size if num_items_in_batch is None else num_items_in_batch)

    @property
    def _twice(self) -> bool:
        """Whether every message is passed twice: in training with R-Drop."""
        return bool(self.objective.r_drop) and cast(nn.Module, self.model).training


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
