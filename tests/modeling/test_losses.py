"""Objectives against their papers' formulas, by hand on small numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smstune.modeling.losses import CLASS_WEIGHTS, LOSSES

# Two labels, of which the second has three times the odds.
LOGITS = torch.tensor([[0.0, math.log(3.0)]])
COUNTS = torch.tensor([16.0, 1.0])


def loss_of(name, label, **options):
    return LOSSES[name](LOGITS, torch.tensor([label]), **options).item()


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    loss = LOSSES["cross_entropy"](logits, torch.tensor([0, 1]))
    assert loss.tolist() == pytest.approx([math.log(4), math.log(2)])


def test_label_smoothing_by_hand():
    # 0.8 + 0.2 / 2 on the label, 0.2 / 2 on the other.
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert loss_of("cross_entropy", 1, label_smoothing=0.2) == pytest.approx(expected)


def test_focal_by_hand():
    assert loss_of("focal", 1, focal_gamma=2) == pytest.approx((1 / 4) ** 2 * math.log(4 / 3))
    assert loss_of("focal", 0, focal_gamma=0) == pytest.approx(loss_of("cross_entropy", 0))


def test_logit_adjustment_by_hand():
    # exp(z) times the prior to the power of tau: 16 / 17 and 3 / 17; at tau 1/2, 4 and 3 of 7.
    assert loss_of("logit_adjusted", 1, counts=COUNTS) == pytest.approx(math.log(19 / 3))
    assert loss_of("logit_adjusted", 0, counts=COUNTS, tau=0.5) == pytest.approx(math.log(7 / 4))
    smooth = loss_of("logit_adjusted", 1, counts=COUNTS, tau=0, label_smoothing=0.2)
    assert smooth == pytest.approx(loss_of("cross_entropy", 1, label_smoothing=0.2))


def test_ldam_by_hand():
    # n^(-1/4) is 1/2 and 1: the rarest label has the whole margin, the other half of it.
    lowered = 3 * math.exp(-0.5)
    assert loss_of("ldam", 1, counts=COUNTS) == pytest.approx(math.log((1 + lowered) / lowered))
    lowered = math.exp(-0.4)
    expected = math.log((lowered + 3) / lowered)
    assert loss_of("ldam", 0, counts=COUNTS, ldam_margin=0.8) == pytest.approx(expected)


def test_class_weights_by_hand():
    counts = np.array([400, 100])
    assert CLASS_WEIGHTS["inverse"](counts) == pytest.approx([0.4, 1.6])
    assert CLASS_WEIGHTS["inverse_sqrt"](counts) == pytest.approx([2 / 3, 4 / 3])
    few, many = 1 - 0.999**100, 1 - 0.999**400
    effective = CLASS_WEIGHTS["effective_number"](counts)
    assert effective.sum() == pytest.approx(2)
    assert effective[1] / effective[0] == pytest.approx(many / few)
