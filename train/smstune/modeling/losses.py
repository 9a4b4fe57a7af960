"""Training objectives as functions of logits and labels, and weights of rare labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, *, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the loss of each message, shape ``(batch,)``, in nats.

    With smoothing the target is ``1 - s`` on the label plus ``s / K`` on each of the K labels
    (Szegedy et al., 2016, section 7).
    """
    return functional.cross_entropy(
        logits, labels, label_smoothing=label_smoothing, reduction="none"
    )


def focal(logits: torch.Tensor, labels: torch.Tensor, *, focal_gamma: float = 2.0) -> torch.Tensor:
    """Return ``-(1 - p)^gamma log p`` of each message's label (Lin et al., 2017, equation 4)."""
    log_p = functional.log_softmax(logits, dim=-1).gather(1, labels[:, None]).squeeze(1)
    return -((1 - log_p.exp()) ** focal_gamma) * log_p


def logit_adjusted(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    counts: torch.Tensor,
    tau: float = 1.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the cross entropy of ``logits + tau log prior`` (Menon et al., 2021, equation 10).

    ``counts`` holds the training messages of each label, on the logits' device; the prior is their
    shares.
    """
    prior = tau * torch.log(counts / counts.sum())
    return cross_entropy(logits + prior, labels, label_smoothing=label_smoothing)


def ldam(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    counts: torch.Tensor,
    ldam_margin: float = 0.5,
) -> torch.Tensor:
    """Return the label-distribution-aware margin loss (Cao et al., 2019, equations 11 to 13).

    The label's logit is lowered by ``C / n^(1/4)``, with C such that the rarest label's margin is
    ``ldam_margin``. The paper also multiplies its logits, which are cosines, by 30.
    """
    margins = counts**-0.25
    margins = margins * (ldam_margin / margins.max())
    lowered = logits - functional.one_hot(labels, logits.shape[-1]) * margins
    return functional.cross_entropy(lowered, labels, reduction="none")


def teacher_divergence(
    logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return how far each answer is from the teacher's, shape ``(batch,)``, in nats.

    ``T^2 KL(teacher || student)`` of the softmax of ``logits / T``; the factor keeps the size of
    the gradient when the temperature T changes (Hinton et al., 2015, section 2.1).
    """
    student = functional.log_softmax(logits / temperature, dim=-1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=-1)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "ldam": ldam,
    "logit_adjusted": logit_adjusted,
}
#: The losses that take the training messages of each label as ``counts``.
WITH_COUNTS = {"ldam", "logit_adjusted"}


def inverse(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights proportional to 1 / n that sum to K over K labels."""
    return _sum_to_number(1 / counts)


def inverse_sqrt(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights proportional to 1 / sqrt(n) that sum to K over K labels."""
    return _sum_to_number(1 / np.sqrt(counts))


def effective_number(counts: NDArray[np.int64], beta: float = 0.999) -> NDArray[np.float64]:
    """Return weights ``(1 - beta) / (1 - beta^n)`` that sum to K (Cui et al., 2019, equation 4)."""
    return _sum_to_number((1 - beta) / (1 - beta ** counts.astype(np.float64)))


CLASS_WEIGHTS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "inverse": inverse,
    "inverse_sqrt": inverse_sqrt,
    "effective_number": effective_number,
}


def _sum_to_number(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = weights * len(weights) / weights.sum()
    return scaled
