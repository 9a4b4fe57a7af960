"""A last encoder layer that computes the first token alone."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertForSequenceClassification, BertLayer


def use_first_token_layer(model: PreTrainedModel) -> None:
    """Let the last layer compute its first token alone: the only one that the classifier reads.

    The answers and gradients are the same; nearly all of that layer's work is saved. Encoders
    other than BERT are left as they are, and so is a BERT with another head, which may read more.
    Not for layers with adapters: it would not see them.
    """
    if type(model) is not BertForSequenceClassification or model.config.is_decoder:
        return
    encoder: Any = model.base_model.encoder
    last = encoder.layer[-1]
    if type(last) is BertLayer:
        # The class is changed, not the module: names and weights stay where they are.
        last.__class__ = FirstTokenLayer


class FirstTokenLayer(BertLayer):  # type: ignore[no-untyped-call]
    """A BERT layer that computes its first token alone; its weights are those of any other.

    With one query to a message, keys and values need not be computed: the query is taken through
    the keys' weights to the tokens, q (K x) = (q K) x, and the values' weights come after the sum.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *_: object,
        **__: object,
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
