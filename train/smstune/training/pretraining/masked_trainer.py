"""Fine-tuning's Trainer for masked tokens, and their scores by source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import EvalPrediction, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from smstune.arrays import Floats
from smstune.inference.origin import MaskedScores
from smstune.modeling.masked_language import PredictedPositions
from smstune.training.pretraining.masking import IGNORED
from smstune.training.trainer import Objective, SmsTrainer, Targets

#: The name of all sources together.
ALL_SOURCES = "all"
MASKED_ACCURACY = "masked_accuracy"


class MaskedTrainer(SmsTrainer):
    """Minimises the mean cross-entropy of the tokens to predict.

    The labels have the shape (messages, tokens); the model computes logits only where they are not
    -100.
    """

    def __init__(self, model: PreTrainedModel, **trainer: Any) -> None:  # noqa: ANN401
        self._positions = PredictedPositions(model)
        super().__init__(Objective(_token_losses), model=model, **trainer)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the loss of a batch."""
        self._positions.chosen = inputs["labels"] != IGNORED
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _averaged_loss(
        self,
        outputs: SequenceClassifierOutput,
        targets: Targets,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        logits = cast(torch.Tensor, outputs.logits).squeeze(0)
        chosen = SequenceClassifierOutput(logits=cast(torch.FloatTensor, logits))
        labels = targets.labels[targets.labels != IGNORED]
        return super()._averaged_loss(chosen, Targets(labels), num_items_in_batch)


def _token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def message_scores(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return for each message the summed loss, the hits and the number of its predicted tokens.

    ``labels`` have the shape (messages, tokens) and ``logits`` (1, positions, vocabulary), in the
    order of the labels that are not -100, after which they may be padded. The answer has the shape
    (messages, 3); it takes the place of the logits, which would not fit into memory.
    """
    rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
    predicted = logits[0, : len(rows)].float()
    truth = labels[rows, columns]
    losses = _token_losses(predicted, truth)
    hits = (predicted.argmax(-1) == truth).float()
    by_token = torch.stack([losses, hits, torch.ones_like(losses)], dim=1)
    return by_token.new_zeros(len(labels), 3).index_add_(0, rows, by_token)


def masked_scores(sources: Sequence[str], prediction: EvalPrediction) -> dict[str, float]:
    """Return mean loss and accuracy over the predicted tokens, and those of each source.

    ``sources`` are those of the messages, in their order. The keys of a source end in its name.
    """
    totals = np.asarray(prediction.predictions, dtype=np.float64)
    source_names = np.array(sources)
    scores = _scores(totals.sum(axis=0), "")
    for name in sorted(set(sources)):
        scores |= _scores(totals[source_names == name].sum(axis=0), f"_{name}")
    return scores


def _scores(totals: Floats, suffix: str) -> dict[str, float]:
    loss, hits, tokens = totals.tolist()
    return {f"loss{suffix}": loss / tokens, f"{MASKED_ACCURACY}{suffix}": hits / tokens}


def logged_scores(row: Mapping[str, float], sources: Iterable[str]) -> dict[str, MaskedScores]:
    """Return the scores of a validation that the trainer logged, by source and for ``all``."""
    suffixes = {ALL_SOURCES: ""} | {name: f"_{name}" for name in sorted(set(sources))}
    return {
        name: MaskedScores(
            loss=row[f"eval_loss{suffix}"], accuracy=row[f"eval_{MASKED_ACCURACY}{suffix}"]
        )
        for name, suffix in suffixes.items()
    }
