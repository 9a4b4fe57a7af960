"""A BERT classifier rewritten for export with the operators that onnxruntime computes fastest.

onnxruntime recognises attention in the graphs of older exporters but not in those of today's
``torch.onnx.export``, so attention is written here as the fused operator itself (onnxruntime,
docs/ContribOperators.md). It does recognise an addition before a layer norm, and replaces both by a
slower operator: on a CPU 5.3 ns per element instead of 1.0 (onnxruntime 1.32). ``Sum``, the same
addition, is not recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm
from torch.onnx.ops import symbolic
from transformers import BertForSequenceClassification, PreTrainedModel

from smstune.modeling.head import head_modules
from smstune.modeling.layers import encoder_layers
from smstune.modeling.pooling import MEAN_WEIGHT, has_mean_layer

_OPSET = 20


def as_fused(model: PreTrainedModel) -> tuple[nn.Module, list[str]]:
    """Return the module to export for a classifier, and the layers to keep in fp32 in all forms.

    The module maps ``input_ids`` and ``attention_mask`` to logits. A BERT is rewritten with the
    same layer names; any other architecture is returned unchanged.
    """
    # They compute a single token: fewer bits would lose precision and save no time.
    keep = head_modules(model)
    if has_mean_layer(model):
        # Its numbers also overflow fp16.
        name, layers = encoder_layers(model)
        keep.append(f"{name}.{len(layers) - 1}")
    if type(model) is not BertForSequenceClassification or model.config.hidden_act != "gelu":
        return model, keep
    return _Bert(model), keep


class _Bert(nn.Module):
    """The whole classifier."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        super().__init__()
        bert: Any = nn.Module()
        *layers, last = model.bert.encoder.layer
        end = _Mean(last) if has_mean_layer(model) else _LastLayer(last)
        bert.embeddings = _Embeddings(model.bert.embeddings)
        bert.encoder = nn.Module()
        bert.encoder.layer = nn.ModuleList([*map(_Layer, layers), end])
        bert.pooler = model.bert.pooler
        self.bert = bert
        self.classifier = model.classifier

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask.to(torch.int32)
        hidden = self.bert.embeddings(input_ids)
        for layer in self.bert.encoder.layer:
            hidden = layer(hidden, mask)
        return cast(torch.Tensor, self.classifier(self.bert.pooler(hidden)))


class _Embeddings(nn.Module):
    """The normalised sum of the embeddings of word, position and the only token type."""

    def __init__(self, embeddings: Any) -> None:  # noqa: ANN401
        super().__init__()
        kind = embeddings.token_type_embeddings.weight[0]
        self.words = embeddings.word_embeddings
        self.positions = nn.Parameter((embeddings.position_embeddings.weight + kind).detach())
        self.norm = embeddings.LayerNorm

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.norm(_sum(self.words(ids), self.positions[: ids.shape[1]])))


class _Linear(nn.Module):
    """A linear layer, or several side by side, with a transposed weight as the operators need."""

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        weight = torch.cat([layer.weight for layer in layers]).detach()
        self.weight = nn.Parameter(weight.T.contiguous())
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]).detach())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.weight + self.bias


class _Layer(nn.Module):
    """One encoder layer."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401
        super().__init__()
        attention, output = layer.attention.self, layer.attention.output
        self.heads = attention.num_attention_heads
        self.attention = _Linear(attention.query, attention.key, attention.value)
        self.attended, self.attended_norm = _Linear(output.dense), output.LayerNorm
        self.up, self.down = _Linear(layer.intermediate.dense), _Linear(layer.output.dense)
        self.norm = layer.output.LayerNorm

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        inputs = [hidden, self.attention.weight, self.attention.bias, mask]
        return self._rest(_attention("Attention", inputs, hidden, self.heads), hidden)

    def _rest(self, context: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        attended = self.attended_norm(_sum(self.attended(context), hidden))
        fed = self.down(gelu(self.up(attended)))
        return cast(torch.Tensor, self.norm(_sum(fed, attended)))


class _LastLayer(_Layer):
    """The last layer, computed only for the first token, which is all the classifier reads."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401
        super().__init__(layer)
        attention = layer.attention.self
        del self.attention
        self.query, self.key, self.value = map(
            _Linear, (attention.query, attention.key, attention.value)
        )

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        first = hidden[:, :1]
        inputs = [self.query(first), self.key(hidden), self.value(hidden), None, mask]
        return self._rest(_attention("MultiHeadAttention", inputs, first, self.heads), first)


class _Mean(nn.Module):
    """The layer of ``append_mean_layer``, written as the mean that it computes."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.eps = layer.output.LayerNorm.eps

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = mask[:, None].to(hidden.dtype)
        mean = weights @ hidden / weights.sum(-1, keepdim=True)
        return self._norm(self._norm(MEAN_WEIGHT * mean + hidden[:, :1]))

    def _norm(self, hidden: torch.Tensor) -> torch.Tensor:
        return layer_norm(hidden, hidden.shape[-1:], eps=self.eps)


def _attention(
    operator: str, inputs: Sequence[torch.Tensor | None], like: torch.Tensor, heads: int
) -> torch.Tensor:
    return symbolic(
        f"com.microsoft::{operator}",
        inputs,
        {"num_heads": heads},
        dtype=torch.float32,
        shape=list(like.shape),
        version=1,
    )


def _sum(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    shape = list(left.shape)
    return symbolic("Sum", [left, right], dtype=torch.float32, shape=shape, version=_OPSET)
