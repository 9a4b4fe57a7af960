"""transformers' Trainer with our objective and layer-wise learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from smstune.errors import UserError
from smstune.language import Message
from smstune.modeling.losses import Loss, teacher_divergence
from smstune.modeling.tokenization import TEACHER_LOGITS, UNLABELLED
from smstune.training.regularisers import (
    gradient_kept,
    layerwise_groups,
    moved,
    symmetric_divergence,
)


@dataclass(frozen=True)
class Objective:
    """What a training step minimises.

    ``loss`` gives the loss of each message, ``class_weights`` the factor of each label, which
    applies from the share ``reweight_after`` of the steps on (deferred re-weighting, Cao et al.,
    2019). If ``r_drop`` > 0, every message is passed twice with different dropout, and ``r_drop``
    times the symmetric KL divergence of the two outputs is added (Liang et al., 2021, equation 4).
    If ``fgm`` > 0, the gradient of a second pass is added, with each message's word embeddings
    shifted by a step of L2 norm ``fgm`` along the gradient (Miyato et al., 2017, equation 5).
    Where a batch has a teacher's logits, the loss of a message is ``teacher_weight`` times its
    divergence from the teacher's answer at ``temperature`` plus ``1 - teacher_weight`` times
    ``loss`` with its class weight; a message without a label has the teacher's term alone.
    """

    loss: Loss
    class_weights: torch.Tensor | None = None
    reweight_after: float = 0.0
    r_drop: float = 0.0
    fgm: float = 0.0
    teacher_weight: float = 0.0
    temperature: float = 1.0


@dataclass(frozen=True)
class Targets:
    """What a batch is to answer: label ids, shape ``(batch,)``, and a teacher's logits, if any."""

    labels: torch.Tensor
    teacher_logits: torch.Tensor | None = None


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
        read: dict[str, Any] = dict(inputs)
        # The trainer hands what is called labels to ``_averaged_loss``, and all else to the model.
        read["labels"] = Targets(inputs["labels"], read.pop(TEACHER_LOGITS, None))
        return super().compute_loss(model, read, *args, **kwargs)

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
        with gradient_kept(words) as gradients:
            loss = super().training_step(model, inputs, *args, **kwargs)
        with moved(words, gradients[0], self.objective.fgm):
            return loss + super().training_step(model, inputs, *args, **kwargs)

    def _get_grad_norm(
        self, model: nn.Module, grad_norm: torch.Tensor | float | None = None
    ) -> torch.Tensor | float:
        """Return the norm of the gradient; called once a step, before the weights are changed.

        Reads loss and norm together, so the GPU is synchronised once per step. (transformers' own
        check, ``logging_nan_inf_filter``, is off; it would synchronise twice per batch.)

        Raises:
            UserError: if the loss or the gradient is not finite.
        """
        norm: torch.Tensor | float = super()._get_grad_norm(  # type: ignore[no-untyped-call]
            model, grad_norm=grad_norm
        )
        # In fp16 the gradient scaler skips steps whose gradient overflows.
        numbers = [self._tr_loss] if self.args.fp16 else [self._tr_loss, norm]
        if not all(math.isfinite(number) for number in numbers):
            raise diverged(Message("in step {step}", step=self.state.global_step + 1))
        return norm

    def _averaged_loss(
        self,
        outputs: SequenceClassifierOutput,
        targets: Targets,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        if outputs.logits is None:
            raise ValueError("expected a model that returns logits, found one without")
        logits = outputs.logits.float()
        total = self._message_losses(logits, targets).sum()
        size = len(targets.labels)
        if self._twice:
            total = total + self.objective.r_drop * symmetric_divergence(*logits.chunk(2)).sum()
            size //= 2
        return total / (size if num_items_in_batch is None else num_items_in_batch)

    def _message_losses(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return the loss of each message but R-Drop's, shape ``(batch,)``."""
        is_labelled = targets.labels != UNLABELLED
        labels = targets.labels.clamp(min=0)
        losses = self.objective.loss(logits, labels)
        weights = self.objective.class_weights
        deferred = self.objective.reweight_after * self.state.max_steps
        if weights is not None and self.state.global_step >= deferred:
            losses = losses * weights[labels]
        if targets.teacher_logits is None:
            return losses
        share = self.objective.teacher_weight
        divergence = teacher_divergence(logits, targets.teacher_logits, self.objective.temperature)
        return (1 - share) * losses * is_labelled + share * divergence

    @property
    def _twice(self) -> bool:
        """Whether every message is passed twice: in training with R-Drop."""
        return bool(self.objective.r_drop) and cast(nn.Module, self.model).training


def diverged(moment: Message) -> UserError:
    """Return the error of a training whose numbers are no longer finite; ``moment`` says when."""
    return UserError(
        "expected a finite loss and gradient, found NaN or infinity {moment}: the training "
        "diverged: lower training.learning_rate and choose another training.output_dir (the "
        "checkpoints of this one were made before)",
        moment=moment,
    )
