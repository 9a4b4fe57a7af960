"""ByteDropout against what dropout promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smstune.modeling.dropout import ByteDropout, use_byte_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rate_scale_and_gradient(dtype, rate):
    torch.manual_seed(0)
    values = torch.ones(401, 501, dtype=dtype, requires_grad=True)
    dropped = ByteDropout(rate)(values)
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(rate, abs=0.005)
    assert dropped.float().mean().item() == pytest.approx(1, abs=0.01)
    dropped.sum().backward()
    # The gradient passes where the value did, with the same scale.
    assert torch.equal(values.grad, dropped.detach())


def test_neighbours_are_independent():
    torch.manual_seed(0)
    kept = (ByteDropout(0.5)(torch.ones(1_000_000)) > 0).float() - 0.5
    for distance in (1, 2, 4, 8, 16):
        correlation = (kept[:-distance] * kept[distance:]).mean().item() / 0.25
        assert abs(correlation) < 0.006, distance


def test_a_gradient_that_is_not_contiguous():
    values = torch.ones(64, 64, requires_grad=True)
    ByteDropout(0.25)(values).t().matmul(torch.ones(64, 1)).sum().backward()
    assert values.grad.unique().tolist() == pytest.approx([0, 4 / 3])


def test_nothing_happens_in_evaluation_and_at_rate_zero():
    values = torch.randn(10)
    assert ByteDropout(0.5).eval()(values) is values
    assert ByteDropout(0.0)(values) is values


def test_same_seed_same_mask():
    values = torch.ones(100)
    masks = [torch.manual_seed(3) and ByteDropout(0.5)(values) for _ in range(2)]
    assert torch.equal(*masks)


def test_every_dropout_of_a_model_is_replaced_with_its_rate():
    model = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)))
    use_byte_dropout(model)
    rates = [module.p for module in model.modules() if isinstance(module, ByteDropout)]
    assert rates == [0.1, 0.3]
    assert model.state_dict().keys() == {"1.0.weight", "1.0.bias"}
