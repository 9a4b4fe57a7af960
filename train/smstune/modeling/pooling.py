"""Mean pooling within the stock BERT architecture."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from smstune.errors import UserError

#: Weight of the mean relative to the first token, which the residual connection adds.
MEAN_WEIGHT = 1024.0


def require_mean_pooling(config: PreTrainedConfig) -> None:
    """Check by its configuration that ``append_mean_layer`` can extend an encoder.

    Raises:
        UserError: if the encoder does not have BERT's architecture.
    """
    if config.model_type != "bert":
        raise UserError(
            "model.pooling: mean pooling needs BERT's architecture, found {model_type}: "
            "set model.pooling=cls",
            model_type=config.model_type,
        )


def append_mean_layer(model: PreTrainedModel) -> None:
    """Append a frozen BERT layer whose first token is the layer norm of the mean of all tokens.

    A stock BERT classifier reads the first token, where an encoder trained with mean pooling stores
    little. The layer's queries are zero, so it attends to all tokens equally; its values are the
    inputs; the first token remains in the residual as one part in 1,024; the feed-forward block
    adds nothing. The model remains a stock BERT with one more layer, which every BERT runtime
    loads; a pooling module would need our code (``auto_map``).

    Raises:
        UserError: if the encoder does not have BERT's architecture.
    """
    require_mean_pooling(model.config)
    encoder: Any = model.base_model.encoder
    layers = encoder.layer
    layer: Any = _mean_layer(layers[-1])
    layer.attention.self.layer_idx = len(layers)
    layers.append(layer.requires_grad_(False))
    model.config.num_hidden_layers += 1


def is_mean_layer(layer: nn.Module) -> bool:
    """Return whether all weights of a BERT layer are those of ``append_mean_layer``.

    They are not, for example, after adapters were merged into it.
    """
    weights, mean = layer.state_dict(), _mean_layer(layer).state_dict()
    return all(torch.equal(weight, mean[name]) for name, weight in weights.items())


def _mean_layer(like: nn.Module) -> nn.Module:
    layer: Any = copy.deepcopy(like)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            weight.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        layer.attention.self.value.weight.fill_diagonal_(1.0)
        layer.attention.output.dense.weight.fill_diagonal_(MEAN_WEIGHT)
    return cast(nn.Module, layer)
