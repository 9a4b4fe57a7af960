"""The layers of an encoder: some of them chosen as a smaller encoder to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from smstune.errors import UserError
from smstune.language import Message


def keep_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    """Keep only the layers of these indices, counted from 0 at the input, in ascending order.

    The model remains a stock one of fewer layers: its configuration says how many, and which type
    each has where an architecture has several. Where all layers are the same one, as ALBERT's are,
    it is repeated as often as there are indices.

    Raises:
        UserError: if an index does not exist, the architecture's layers cannot be told, or its own
            code would load the shorter model otherwise.
    """
    config = model.config
    repeated = getattr(config, "num_hidden_groups", None) == 1
    name, layers = ("", None) if repeated else encoder_layers(model)
    n_layers: int = config.num_hidden_layers
    absent = [index for index in indices if index >= n_layers]
    if absent:
        raise UserError(
            "model.keep_layers: expected indices from 0 to {last}, found {absent}: the encoder "
            "has {n_layers} layers",
            last=n_layers - 1,
            absent=", ".join(map(str, absent)),
            n_layers=n_layers,
        )
    if layers is not None:
        kept = nn.ModuleList([layers[index] for index in indices])
        for number, layer in enumerate(kept):
            set_layer_number(layer, number)
        model.set_submodule(name, kept)
    # Such as layer_types, before the number of layers, with which they must agree.
    for key, value in config.to_dict().items():
        if isinstance(value, list | tuple) and len(value) == n_layers:
            setattr(config, key, [value[index] for index in indices])
    config.num_hidden_layers = len(indices)
    _check_loadable(model)


def set_layer_number(layer: nn.Module, number: int) -> None:
    """Tell a layer its index, where its architecture stores it in the layer."""
    for module in layer.modules():
        if hasattr(module, "layer_idx"):
            numbered: Any = module
            numbered.layer_idx = number


def encoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the encoder's list of layers and its name within the model.

    It is the list that is as long as the configuration says, with layers of one class.

    Raises:
        UserError: if there is no such list, or more than one.
    """
    n_layers = getattr(model.config, "num_hidden_layers", None)
    encoder = set(model.base_model.modules())
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and module in encoder
        and len(module) == n_layers
        # The last one may be of a class of ours that computes the first token alone.
        and all(isinstance(layer, type(module[0])) for layer in module)
    ]
    # A layer may hold lists of its own.
    outermost = [
        (name, module)
        for name, module in found
        if not any(name.startswith(f"{other}.") for other, _ in found)
    ]
    if len(outermost) != 1:
        raise _unsupported(model, Message("its list of layers cannot be told"))
    return outermost[0]


def _check_loadable(model: PreTrainedModel) -> None:
    """Refuse a shorter model that its own configuration does not describe.

    ModernBERT's first layer, for example, lacks a norm that all others have.
    """
    auto_class: Any = AutoModelForSequenceClassification
    with torch.device("meta"):
        stock = auto_class.from_config(model.config)
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    if shapes != {name: weight.shape for name, weight in stock.state_dict().items()}:
        raise _unsupported(
            model, Message("these layers do not fit into a shorter encoder: begin with layer 0")
        )


def _unsupported(model: PreTrainedModel, reason: Message) -> UserError:
    return UserError(
        "model.keep_layers cannot cut {model_type} ({reason}): remove it or choose another "
        "checkpoint",
        model_type=model.config.model_type,
        reason=reason,
    )
