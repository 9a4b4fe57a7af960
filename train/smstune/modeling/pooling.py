"""Mean pooling inside the stock BERT architecture, and a last layer that computes one token."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from smstune.errors import UserError

#: Weight of the mean beside the first token that the residual connection adds: 1 in 1024 is left.
MEAN_WEIGHT = 1024.0


def append_mean_layer(model: PreTrainedModel) -> None:
    """Append a frozen BERT layer whose first token is the layer norm of the mean of all tokens.

    A stock BERT classifier reads the first token, and an encoder trained by mean pooling holds
    little there. The layer's queries are zero, so that it attends to every token alike; values are
    passed on as they are; the residual's first token is left as one part in 1,024; the feed-forward
    part adds nothing. The model stays a stock BERT of one layer more, which any runtime for BERT
    loads, where a pooling of our own would make users run our code (``auto_map``).

    Raises:
        UserError: if the encoder is not of BERT's architecture.
    """
    layers = _layers(model)
    layer: Any = _mean_layer(layers[-1])
    layer.attention.self.layer_idx = len(layers)
    layers.append(layer.requires_grad_(False))
    model.config.num_hidden_layers += 1


def is_mean_layer(layer: nn.Module) -> bool:
    """Say whether a BERT layer is the one that ``append_mean_layer`` appends, to the last weight.

    Adapters merged into it, say, make it another.
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


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if layers is None or not isinstance(layers[-1], BertLayer):
        raise UserError(
            f"model.pooling: expected an encoder of BERT's architecture for mean pooling, found "
            f"{model.config.model_type}: set model.pooling=cls"
        )
    return cast(nn.ModuleList, layers)
