"""Mean pooling within an encoder's stock architecture."""

from __future__ import annotations

import copy
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from smstune.errors import UserError
from smstune.modeling.layers import encoder_layers, set_layer_number

#: Weight of the mean relative to the first token, which the residual connection adds.
MEAN_WEIGHT = 1024.0
#: Classifiers that pool as ``classifier_pooling`` says, and what it calls the first token.
_FIRST_TOKEN = {"modernbert": "cls", "eurobert": "bos"}
_BERT_LAYER = ("attention.self.value", "attention.output.dense")
#: Encoders that can end with a mean layer, and what their layers call two linear layers: that of
#: the values, and the one that attention ends with.
_VALUE_AND_OUTPUT = {
    "bert": _BERT_LAYER,
    "deberta-v2": ("attention.self.value_proj", "attention.output.dense"),
    "distilbert": ("attention.v_lin", "attention.out_lin"),
    "electra": _BERT_LAYER,
    "ernie": _BERT_LAYER,
    "roberta": _BERT_LAYER,
    "xlm-roberta": _BERT_LAYER,
}


def require_mean_pooling(config: PreTrainedConfig) -> None:
    """Check by its configuration that ``use_pooling`` can let a classifier read the mean.

    Raises:
        UserError: if its architecture has no way to do so.
    """
    if config.model_type not in {**_FIRST_TOKEN, **_VALUE_AND_OUTPUT}:
        raise UserError(
            "model.pooling: {model_type} cannot pool by the mean, because it has neither layers "
            "like BERT's nor a setting for it: set model.pooling=cls",
            model_type=config.model_type,
        )


def use_pooling(
    model: PreTrainedModel, pooling: Literal["cls", "mean"], mean_layer: nn.Module | None = None
) -> None:
    """Let the classifier read the first token of each message, or the mean of all.

    A decoder's classifier reads the last token instead of the first. The mean comes from the
    architecture's own ``classifier_pooling`` or from ``append_mean_layer``, to which ``mean_layer``
    goes.

    Raises:
        UserError: if the architecture has no way to read the mean.
    """
    config = model.config
    if config.model_type in _FIRST_TOKEN:
        config.classifier_pooling = "mean" if pooling == "mean" else _FIRST_TOKEN[config.model_type]
        if hasattr(model, "classifier_pooling"):
            # EuroBERT reads its configuration once, when it is built.
            cast("Any", model).classifier_pooling = config.classifier_pooling
    elif pooling == "mean":
        append_mean_layer(model, mean_layer)


def remove_mean_layers(model: PreTrainedModel) -> nn.Module | None:
    """Remove the mean layer of a model that was trained with one, and return it.

    It is recognised when adapters were merged into it, too. Of several, which earlier versions
    appended to a run that was continued, the first is returned; ``None`` if there is none.
    """
    if model.config.model_type not in _VALUE_AND_OUTPUT:
        return None
    _, output = _VALUE_AND_OUTPUT[model.config.model_type]
    _, layers = encoder_layers(model)
    mean_layer = None
    while len(layers) and _was_mean_layer(layers[-1], output):
        mean_layer = layers[-1]
        del layers[-1]
    model.config.num_hidden_layers = len(layers)
    return mean_layer


def _was_mean_layer(layer: nn.Module, output: str) -> bool:
    """Return whether ``append_mean_layer`` made a layer, adapters merged into it or not.

    ``output`` is the linear layer that attention ends with. An encoder's own weights, and the
    changes by adapters, are far smaller than ``MEAN_WEIGHT``.
    """
    linear: Any = layer.get_submodule(output)
    weights: torch.Tensor = linear.weight.diagonal()
    return bool((weights > MEAN_WEIGHT / 2).all())


def append_mean_layer(model: PreTrainedModel, mean_layer: nn.Module | None = None) -> None:
    """Append a frozen layer whose first token is the layer norm of the mean of all tokens.

    ``mean_layer`` is one that ``remove_mean_layers`` returned; without it, a new one is made.

    The stock classifiers of BERT and its relatives read the first token, where an encoder trained
    with mean pooling stores little. The layer's queries are zero, so it attends to all tokens
    equally; its values are the inputs; the first token remains in the residual as one part in
    1,024; the feed-forward block adds nothing. The model remains a stock one with one more layer,
    which every runtime for its architecture loads; a pooling module would need our code
    (``auto_map``).

    Raises:
        UserError: if the encoder's layers are not such as BERT's.
    """
    config = model.config
    if config.model_type not in _VALUE_AND_OUTPUT:
        require_mean_pooling(config)
    _, layers = encoder_layers(model)
    layer = mean_layer or _mean_layer(layers[-1], *_VALUE_AND_OUTPUT[config.model_type])
    set_layer_number(layer, len(layers))
    layers.append(layer.requires_grad_(False))
    config.num_hidden_layers += 1


def has_mean_layer(model: PreTrainedModel) -> bool:
    """Return whether all weights of the last layer are those of ``append_mean_layer``.

    They are not, for example, after adapters were merged into it.
    """
    if model.config.model_type not in _VALUE_AND_OUTPUT:
        return False
    *_, last = encoder_layers(model)[1]
    mean = _mean_layer(last, *_VALUE_AND_OUTPUT[model.config.model_type]).state_dict()
    return all(torch.equal(weight, mean[name]) for name, weight in last.state_dict().items())


def _mean_layer(like: nn.Module, value: str, output: str) -> nn.Module:
    """Return a mean layer of the class and size of a layer with these two linear layers."""
    layer = copy.deepcopy(like)
    linear: Any
    with torch.no_grad():
        for module in layer.modules():
            for name, weight in module.named_parameters(recurse=False):
                is_gain = isinstance(module, nn.LayerNorm) and name == "weight"
                weight.fill_(1.0 if is_gain else 0.0)
        for linear, diagonal in (
            (layer.get_submodule(value), 1.0),
            (layer.get_submodule(output), MEAN_WEIGHT),
        ):
            linear.weight.fill_diagonal_(diagonal)
    return layer
