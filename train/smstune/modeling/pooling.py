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


def remove_mean_layers(model: PreTrainedModel) -> nn.Module | None:
    """Remove the mean layer of a model that was trained with mean pooling, and return it.

    It is recognised when adapters were merged into it, too. Of several, which earlier versions
    appended to a run that was continued, the first is returned; ``None`` if there is none.
    """
    if model.config.model_type != "bert":
        return None
    encoder: Any = model.base_model.encoder
    layers, mean_layer = encoder.layer, None
    while len(layers) and _was_mean_layer(layers[-1]):
        mean_layer = layers[-1]
        del layers[-1]
    model.config.num_hidden_layers = len(layers)
    return mean_layer


def _was_mean_layer(layer: nn.Module) -> bool:
    """Return whether ``append_mean_layer`` made a BERT layer, adapters merged into it or not.

    An encoder's own weights, and the changes by adapters, are far smaller than ``MEAN_WEIGHT``.
    """
    bert_layer: Any = layer
    weights: torch.Tensor = bert_layer.attention.output.dense.weight.diagonal()
    return bool((weights > MEAN_WEIGHT / 2).all())


def append_mean_layer(model: PreTrainedModel, mean_layer: nn.Module | None = None) -> None:
    """Append a frozen BERT layer whose first token is the layer norm of the mean of all tokens.

    ``mean_layer`` is one that ``remove_mean_layers`` returned; without it, a new one is made.


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
    layer: Any = mean_layer or _mean_layer(layers[-1])
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
