"""Training objectives: functions of logits and labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the loss of each message, shape ``(batch,)``, in nats.

    With smoothing the target is ``1 - s`` on the label plus ``s / K`` on each of the K labels
    (Szegedy et al., 2016, section 7).
    """
    return functional.cross_entropy(
        logits, labels, label_smoothing=label_smoothing, reduction="none"
    )


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"cross_entropy": cross_entropy}
