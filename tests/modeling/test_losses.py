"""Objectives against their formulas, by hand on small numbers."""

from __future__ import annotations

import math

import pytest
import torch

from train.modeling.losses import LOSSES


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    loss = LOSSES["cross_entropy"](logits, torch.tensor([0, 1]))
    assert loss.tolist() == pytest.approx([math.log(4), math.log(2)])


def test_label_smoothing_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    loss = LOSSES["cross_entropy"](logits, torch.tensor([1]), label_smoothing=0.2)
    # 0.8 + 0.2 / 2 on the label, 0.2 / 2 on the other.
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert loss.item() == pytest.approx(expected)
