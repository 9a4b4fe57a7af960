"""An encoder with an output layer that predicts masked tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModel,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from smstune.config.choices import Attention
from smstune.errors import UserError
from smstune.modeling.build import (
    adapt_config,
    grow_embeddings,
    load_encoder_config,
    load_weights,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskedModel:
    """A model that predicts masked tokens, and its checkpoint's pooler, which it does not use.

    ``pooler`` holds the pooler's weights by the names that a classifier loads them by; empty where
    the checkpoint has none.
    """

    model: PreTrainedModel
    pooler: dict[str, torch.Tensor]


def load_masked_model(
    name_or_path: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    attention: Attention,
    dropouts: Mapping[str, float] | None = None,
    revision: str | None = None,
) -> MaskedModel:
    """Return a checkpoint as a masked-language model, in fp32.

    Where it has no output layer, the model gets one tied to the embeddings, behind a new transform
    layer. The embedding table grows to the tokenizer's vocabulary.

    Raises:
        UserError: if the checkpoint cannot be reached, is no encoder that predicts masked tokens,
            or lacks weights of it.
    """
    config = load_encoder_config(name_or_path, revision=revision)
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise UserError(
            "model.name_or_path: expected an encoder that predicts masked tokens, such as BERT, "
            "found {model_type} in {name_or_path}: fine-tune it without pretraining, or choose "
            "another checkpoint",
            model_type=config.model_type,
            name_or_path=name_or_path,
        )
    adapt_config(config, dropouts)
    loaded = load_weights(
        AutoModelForMaskedLM, name_or_path, config, attention=attention, revision=revision
    )
    model = loaded.model
    if loaded.absent:
        logger.info("%s has no output layer for masked tokens: it gets a new one", name_or_path)
        model.config.tie_word_embeddings = True
        model.tie_weights()
    grow_embeddings(model, tokenizer)
    has_pooler = any("pooler" in name.split(".") for name in loaded.unused)
    pooler = _pooler(name_or_path, revision) if has_pooler else {}
    return MaskedModel(model, pooler)


def _pooler(name_or_path: str, revision: str | None) -> dict[str, torch.Tensor]:
    encoder: PreTrainedModel = AutoModel.from_pretrained(
        name_or_path, revision=revision, dtype=torch.float32, trust_remote_code=False
    )
    return {
        f"{encoder.base_model_prefix}.{name}": weight
        for name, weight in encoder.state_dict().items()
        if "pooler" in name.split(".")
    }


class PredictedPositions:
    """Lets the output layer of a masked-language model compute some positions alone.

    It is as wide as the vocabulary: at all positions it would take a third of a step.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Stand between the encoder and the output layer of ``model``."""
        #: Flags of shape (messages, tokens): the positions of the next batch.
        self.chosen: torch.Tensor | None = None
        model.base_model.register_forward_hook(self._choose)

    def _choose(self, _encoder: nn.Module, _inputs: object, output: Any) -> Any:  # noqa: ANN401
        if self.chosen is not None:
            # As a batch of one message: the logits have the shape (1, positions, vocabulary).
            output.last_hidden_state = output.last_hidden_state[self.chosen].unsqueeze(0)
        return output
