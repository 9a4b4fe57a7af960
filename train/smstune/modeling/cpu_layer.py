"""A BERT layer whose training step on a CPU spends little time outside its matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers.models.bert.modeling_bert import BertLayer

from smstune.modeling.dropout import byte_mask, byte_scale, byte_threshold

#: torch's own gradient functions, which have no public names.
_aten: Any = torch.ops.aten
#: Padding is skipped if less than this share of a batch is tokens.
_WORTHWHILE = 0.95


def use_cpu_layers(model: nn.Module) -> None:
    """Turn the BERT layers of ``model`` into CpuLayers where possible.

    Layers stay unchanged if they have adapters, frozen weights, an activation other than GELU, or
    attention that is not eager or drops weights; so does a last layer that computes only one token.
    """
    for layer in model.modules():
        if type(layer) is BertLayer and _is_plain(layer):
            # Changing the class of the module keeps its name and weights.
            layer.__class__ = CpuLayer


class CpuLayer(BertLayer):  # type: ignore[no-untyped-call]
    """A BERT layer with the weights, outputs and gradients of the stock one.

    Both passes are written out to avoid the work of autograd and autocast between the matrix
    products: hidden states stay in one number format, while autocast converts them ten times per
    layer; query, key and value are a single product; biases are added within the products. Rounding
    differs from autocast's: the residual sum is in bf16, and the softmax is in fp32 only in the
    forward pass. If much of a batch is padding, it is skipped and its outputs are zeros. 1.2 times
    as fast as the stock layers (docs/experiments.md).
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *_: object,
        **__: object,
    ) -> torch.Tensor:
        """Return the next hidden states, of shape ``(batch, length, hidden)``."""
        cast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if cast else hidden_states.dtype
        attention, output = self.attention, self.output
        cut = byte_threshold(output.dropout.p) if self.training else 0
        tokens = _tokens(attention_mask)
        with torch.autocast("cpu", enabled=False):
            attended = _Attention.apply(  # type: ignore[no-untyped-call]
                hidden_states.to(dtype),
                attention_mask,
                tokens,
                attention.self.num_attention_heads,
                cut,
                output.LayerNorm.eps,
                *_parameters(attention.self.query, attention.self.key, attention.self.value),
                *_parameters(attention.output.dense, attention.output.LayerNorm),
            )
            answer: torch.Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
                attended,
                hidden_states.shape,
                tokens,
                cut,
                output.LayerNorm.eps,
                *_parameters(self.intermediate.dense, output.dense, output.LayerNorm),
            )
        return answer


def _is_plain(layer: Any) -> bool:  # noqa: ANN401
    config = layer.attention.self.config
    linear = [type(module) for module in layer.modules() if isinstance(module, nn.Linear)]
    return (
        linear == [nn.Linear] * 6
        and all(weight.requires_grad for weight in layer.parameters())
        and config.hidden_act == "gelu"
        and config._attn_implementation == "eager"
        and layer.attention.self.dropout.p == 0
        and layer.attention.output.dropout.p == layer.output.dropout.p
        and byte_threshold(layer.output.dropout.p) < 256
        and not layer.is_decoder
    )


def _tokens(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return which rows of the flat batch are tokens, ``None`` if padding is not worth skipping.

    Skipping it costs 3 % of a step.
    """
    if mask is None:
        return None
    # transformers' eager mask: added to the scores, 0 for a token, the same for every query.
    is_token = mask[:, 0, 0] == 0
    # The classifier reads the first row, even with padding on the left.
    is_token[:, 0] = True
    is_token = is_token.flatten()
    rows = is_token.nonzero().flatten()
    return rows if len(rows) < _WORTHWHILE * len(is_token) else None


def _packed(padded: torch.Tensor, tokens: torch.Tensor | None) -> torch.Tensor:
    """Return a batch as one row per token."""
    flat = padded.reshape(-1, padded.shape[-1])
    return flat if tokens is None else flat.index_select(0, tokens)


def _padded(flat: torch.Tensor, tokens: torch.Tensor | None, shape: Sequence[int]) -> torch.Tensor:
    """Return rows of tokens at their positions in a batch, with zeros for padding."""
    if tokens is not None:
        zeros = flat.new_zeros(shape[0] * shape[1], flat.shape[-1])
        flat = zeros.index_copy_(0, tokens, flat)
    return flat.view(*shape[:2], -1)


def _parameters(*modules: Any) -> list[torch.Tensor]:  # noqa: ANN401
    return [tensor for module in modules for tensor in (module.weight, module.bias)]


class _Attention(torch.autograd.Function):
    """Attention (Vaswani et al., 2017, equation 1), dropout, residual and norm."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: torch.Tensor,
        mask: torch.Tensor | None,
        tokens: torch.Tensor | None,
        heads: int,
        cut: int,
        epsilon: float,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        w_q, b_q, w_k, b_k, w_v, b_v, w_o, b_o, gain, shift = weights
        batch, length, _ = hidden.shape
        flat = _packed(hidden, tokens)
        w_qkv = torch.cat([w_q, w_k, w_v]).to(hidden.dtype)
        w_o = w_o.to(hidden.dtype)
        qkv = _linear(flat, w_qkv, torch.cat([b_q, b_k, b_v]))
        qkv = (
            _padded(qkv, tokens, hidden.shape)
            .view(batch, length, 3, heads, -1)
            .permute(2, 0, 3, 1, 4)
            .contiguous()
        )
        query, key, values = qkv.flatten(1, 2)
        scores = (
            torch.bmm(query, key.transpose(1, 2))
            .to(torch.promote_types(hidden.dtype, torch.float32))
            .mul_(query.shape[-1] ** -0.5)
        )
        if mask is not None:
            scores.view(batch, heads, length, length).add_(mask)
        share = scores.softmax(-1).to(hidden.dtype)
        context = torch.bmm(share, values).view(batch, heads, length, -1).transpose(1, 2)
        context = _packed(context.reshape(hidden.shape), tokens)
        branch = _linear(context, w_o, b_o)
        answer, *norm = _dropped_added_normed(branch, flat, cut, gain, shift, epsilon)
        ctx.save_for_backward(tokens, flat, qkv, share, context, w_qkv, w_o, *norm)
        ctx.cut, ctx.shape = cut, hidden.shape
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        tokens, flat, qkv, share, context, w_qkv, w_o, *norm = ctx.saved_tensors
        (batch, length, _), heads = ctx.shape, qkv.shape[2]
        residual, branch, *d_norm = _normed_backward(gradient, ctx.cut, norm)
        d_context = (
            _padded(branch @ w_o, tokens, ctx.shape).view(batch, length, heads, -1).transpose(1, 2)
        )
        d_context = d_context.reshape(batch * heads, length, -1)
        query, key, values = qkv.flatten(1, 2)
        d_qkv = torch.empty_like(qkv)
        d_query, d_key, d_value = d_qkv.flatten(1, 2)
        torch.bmm(share.transpose(1, 2), d_context, out=d_value)
        d_share = torch.bmm(d_context, values.transpose(1, 2))
        d_scores = _aten._softmax_backward_data(d_share, share, -1, share.dtype)
        d_scores.mul_(query.shape[-1] ** -0.5)
        torch.bmm(d_scores, key, out=d_query)
        torch.bmm(d_scores.transpose(1, 2), query, out=d_key)
        d_qkv = _packed(d_qkv.permute(1, 3, 0, 2, 4).reshape(batch, length, -1), tokens)
        d_hidden = _padded(torch.addmm(residual, d_qkv, w_qkv), tokens, ctx.shape)
        d_weights, d_biases = (stacked.chunk(3) for stacked in _linear_backward(d_qkv, flat))
        d_inputs = [tensor for pair in zip(d_weights, d_biases, strict=True) for tensor in pair]
        return d_hidden, *[None] * 5, *d_inputs, *_linear_backward(branch, context), *d_norm


class _FeedForward(torch.autograd.Function):
    """Two linear layers with GELU between them, dropout, residual and norm."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        flat: torch.Tensor,
        shape: torch.Size,
        tokens: torch.Tensor | None,
        cut: int,
        epsilon: float,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        w_in, b_in, w_out, b_out, gain, shift = weights
        w_in, w_out = w_in.to(flat.dtype), w_out.to(flat.dtype)
        inner = _linear(flat, w_in, b_in)
        active = nn.functional.gelu(inner)
        branch = _linear(active, w_out, b_out)
        answer, *norm = _dropped_added_normed(branch, flat, cut, gain, shift, epsilon)
        ctx.save_for_backward(tokens, flat, inner, active, w_in, w_out, *norm)
        ctx.cut = cut
        return _padded(answer, tokens, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        tokens, flat, inner, active, w_in, w_out, *norm = ctx.saved_tensors
        residual, branch, *d_norm = _normed_backward(_packed(gradient, tokens), ctx.cut, norm)
        d_inner = _aten.gelu_backward(branch @ w_out, inner)
        d_flat = torch.addmm(residual, d_inner, w_in)
        d_in, d_out = _linear_backward(d_inner, flat), _linear_backward(branch, active)
        return d_flat, *[None] * 4, *d_in, *d_out, *d_norm


def _linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.addmm(bias.to(inputs.dtype), inputs, weight.t())


def _linear_backward(gradient: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the gradients of weight and bias."""
    return (gradient.t() @ inputs), gradient.sum(0)


def _dropped_added_normed(
    branch: torch.Tensor,
    residual: torch.Tensor,
    cut: int,
    gain: torch.Tensor,
    shift: torch.Tensor,
    epsilon: float,
) -> tuple[torch.Tensor, *tuple[torch.Tensor | None, ...]]:
    """Return the norm of residual and branch after dropout, and the ``saved`` of its backward."""
    mask = byte_mask(branch, cut) if cut else None
    if mask is None:
        total = branch.add_(residual)
    else:
        total = torch.addcmul(residual, branch, mask, value=byte_scale(cut))
    width = (total.shape[-1],)
    answer, mean, scale = torch.native_layer_norm(total, width, gain, shift, epsilon)
    return answer, mask, total, mean, scale, gain, shift


def _normed_backward(
    gradient: torch.Tensor, cut: int, saved: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Return the gradients of residual, branch, gain and shift."""
    mask: torch.Tensor | None
    mask, total, mean, scale, gain, shift = saved
    residual, d_gain, d_shift = _aten.native_layer_norm_backward(
        gradient, total, (total.shape[-1],), mean, scale, gain, shift, (True, True, True)
    )
    branch = residual if mask is None else (residual * mask).mul_(byte_scale(cut))
    return residual, branch, d_gain, d_shift
