"""The classifier of a checkpoint that has one already: its rows, label by label."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from smstune.errors import UserError
from smstune.inference.labels import LabelMap

logger = logging.getLogger(__name__)


def classifier_labels(config: PreTrainedConfig) -> list[str]:
    """Return the labels of a checkpoint's classifier in their order, none if it has none."""
    architectures = config.architectures or []
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        return []
    id2label = cast("dict[int, str]", config.id2label)
    return [id2label[label_id] for label_id in sorted(id2label)]


def output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Return the name and the layer whose rows are the labels: the last linear one of the head.

    Raises:
        UserError: if the model has no such layer.
    """
    encoder = set(model.base_model.modules())
    named = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module not in encoder
        and module.out_features == model.config.num_labels
    ]
    if not named:
        raise UserError(
            "model.name_or_path: the classifier of {model_type} has no layer with a row for each "
            "label: choose another checkpoint",
            model_type=model.config.model_type,
        )
    return named[-1]


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules with weights that come after the encoder, or pool it."""
    encoder = model.base_model
    heads = [name for name, module in model.named_children() if module is not encoder]
    poolers = [name for name, _ in model.named_modules() if name.endswith(".pooler")]
    return [name for name in heads + poolers if list(model.get_submodule(name).parameters())]


@torch.no_grad()
def take_over_rows(model: PreTrainedModel, names: Sequence[str], labels: LabelMap) -> None:
    """Give the head a row for each of ``labels``: its own where ``names`` has the label, else new.

    ``names`` are the labels of the model's present rows; where it is empty, all rows become new.
    A new row is drawn as the library draws weights, with the bias 0.
    """
    _, layer = output_layer(model)
    own_rows = {name: row for row, name in enumerate(names)}
    known = [name for name in labels.names if name in own_rows]
    # In the order of ``known``.
    to_rows = [labels.label2id[name] for name in known]
    from_rows = [own_rows[name] for name in known]
    weight = layer.weight.new_empty(len(labels.names), layer.in_features)
    nn.init.normal_(weight, std=getattr(model.config, "initializer_range", None) or 0.02)
    weight[to_rows] = layer.weight[from_rows]
    # An attribute of a Parameter, such as that it is initialised, must not outlive its tensor.
    layer.weight = nn.Parameter(weight)
    if layer.bias is not None:
        bias = layer.bias.new_zeros(len(labels.names))
        bias[to_rows] = layer.bias[from_rows]
        layer.bias = nn.Parameter(bias)
    layer.out_features = len(labels.names)
    stock_model: Any = model
    stock_model.num_labels = len(labels.names)


def log_rows(name_or_path: str, names: Sequence[str], labels: LabelMap) -> None:
    """Say which labels of a checkpoint's classifier are taken over, which are new, which go."""
    own = set(names)
    kept = [name for name in labels.names if name in own]
    new = [name for name in labels.names if name not in own]
    dropped = [name for name in names if name not in labels.label2id]
    logger.info("%d labels of %s are taken over by name", len(kept), name_or_path)
    if new:
        logger.info("new labels, which start untrained: %s", ", ".join(new))
    if dropped:
        logger.info("labels of %s that are dropped: %s", name_or_path, ", ".join(dropped))
