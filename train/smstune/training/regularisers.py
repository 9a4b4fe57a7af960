"""Parts of a regularised training step: R-Drop's divergence, FGM's move, rates by layer."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_LAYER = re.compile(r"\.layers?\.(\d+)\.")


def symmetric_divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the mean of both Kullback-Leibler divergences of two answers, shape ``(batch,)``."""
    left, right = functional.log_softmax(first, dim=-1), functional.log_softmax(second, dim=-1)
    return 0.5 * ((left.exp() - right.exp()) * (left - right)).sum(dim=-1)


@contextmanager
def gradient_kept(words: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Yield a list that receives the gradient of the word embeddings of the next batch."""
    gradients: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        output.register_hook(gradients.append)  # type: ignore[no-untyped-call]

    handle = words.register_forward_hook(keep)
    try:
        yield gradients
    finally:
        handle.remove()


@contextmanager
def moved(words: nn.Module, gradient: torch.Tensor, distance: float) -> Iterator[None]:
    """Move the word embeddings of the next batch along ``gradient``, each message by ``distance``.

    The weights stay as they are, so that accumulated gradients and an interruption meet no harm.
    """
    norms = gradient.flatten(1).norm(dim=1)[:, None, None]
    step = distance * gradient / norms.clamp_min(torch.finfo(gradient.dtype).tiny)
    handle = words.register_forward_hook(lambda _module, _inputs, output: output + step)
    try:
        yield
    finally:
        handle.remove()


def layerwise_groups(
    model: nn.Module,
    learning_rate: float,
    decay: float,
    weight_decay: float,
    decayed: Collection[str],
) -> list[dict[str, Any]]:
    """Return an optimizer's parameter groups, one for each layer and kind of weight decay.

    Head and top layer learn at ``learning_rate``, each layer below at ``decay`` times the one
    above, the embeddings below all; ``weight_decay`` is that of the parameters in ``decayed``.
    """
    get_words: Any = getattr(model, "get_input_embeddings", None)
    words = set() if get_words is None else set(get_words().parameters())
    depths = {
        name: -1 if weight in words else _depth(name) for name, weight in model.named_parameters()
    }
    top = max((depth for depth in depths.values() if depth is not None), default=0)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        depth = depths[name]
        below = 0 if depth is None else top - depth
        group = groups.setdefault(
            (below, name in decayed),
            {
                "params": [],
                "lr": learning_rate * decay**below,
                "weight_decay": weight_decay if name in decayed else 0.0,
            },
        )
        group["params"].append(weight)
    return list(groups.values())


def _depth(name: str) -> int | None:
    """Return the layer of a parameter, counted from 0; -1 for embeddings, ``None`` for the head."""
    if layer := _LAYER.search(name):
        return int(layer[1])
    return -1 if "embeddings" in name else None
