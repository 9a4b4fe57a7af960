"""Mean pooling inside the stock BERT architecture, and a last layer that computes one token."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from train.command import UserError

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


def use_first_token_layer(model: PreTrainedModel) -> None:
    """Let the last layer compute its first token alone: the only one that the classifier reads.

    The answers and gradients are the same; nearly all of that layer's work is saved. Encoders
    other than BERT are left as they are. Not for layers with adapters: it would not see them.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if layers is not None and type(layers[-1]) is BertLayer:
        # The class is changed, not the module: names and weights stay where they are.
        layers[-1].__class__ = FirstTokenLayer


class FirstTokenLayer(BertLayer):  # type: ignore[no-untyped-call]
    """A BERT layer that computes its first token alone; its weights are those of any other.

    With one query to a message, keys and values need not be computed: the query is taken through
    the keys' weights to the tokens, q (K x) = (q K) x, and the values' weights come after the sum.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *_: Any,  # noqa: ANN401
        **__: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        """Return the first token of each message, shape ``(batch, 1, hidden)``."""
        first = hidden_states[:, :1]
        context = self._context(first, hidden_states, attention_mask)
        attended = self.attention.output(context, first)
        answer: torch.Tensor = self.feed_forward_chunk(attended)  # type: ignore[no-untyped-call]
        return answer

    def _context(
        self, first: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        attention = self.attention.self
        heads, size = attention.num_attention_heads, attention.attention_head_size
        query = attention.query(first).view(-1, heads, size) * attention.scaling
        keys, values = (
            linear.weight.view(heads, size, -1) for linear in (attention.key, attention.value)
        )
        through = torch.einsum("bhs,hsw->bhw", query, keys)
        # The softmax does not see the keys' bias; it is here for DDP, which waits for the gradient
        # of every weight.
        bias = (query * attention.key.bias.view(heads, size)).sum(-1, keepdim=True)
        scores = through @ hidden.transpose(1, 2) + bias
        if mask is not None:
            row = mask[:, 0, :1]
            scores = (
                scores.masked_fill(~row, torch.finfo(scores.dtype).min)
                if row.dtype == torch.bool
                else scores + row
            )
        share = attention.dropout(scores.softmax(-1))
        context = torch.einsum("bhw,hsw->bhs", share.to(hidden.dtype) @ hidden, values)
        context = context + share.sum(-1, keepdim=True) * attention.value.bias.view(heads, size)
        shaped: torch.Tensor = context.reshape(first.shape).to(first.dtype)
        return shaped


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
