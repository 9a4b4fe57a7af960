"""CpuLayer against the stock BERT layer whose weights it has."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from doors import TINY_OVERRIDES, run
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from smstune.config.loading import load_config
from smstune.inference.backends.first_token import FirstTokenLayer, use_first_token_layer
from smstune.modeling.cpu_layer import CpuLayer, use_cpu_layers
from smstune.modeling.dropout import use_byte_dropout

PADDED = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=torch.bool)
WHOLE = torch.ones_like(PADDED)


def layer(**config) -> BertLayer:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}
    made = BertConfig(**sizes, **{"attention_probs_dropout_prob": 0.0, **config})
    made._attn_implementation = "eager"
    stock = BertLayer(made).double()
    with torch.no_grad():
        for weight in stock.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    use_byte_dropout(stock)
    return stock


def swapped(stock: nn.Module) -> nn.Module:
    ours = nn.ModuleList([copy.deepcopy(stock)])
    use_cpu_layers(ours)
    return ours[0]


def answers(module, kept, mask, *, dtype=torch.float64):
    """The answers at real tokens, the gradient of the input and those of all weights."""
    torch.manual_seed(7)
    hidden = torch.randn(3, 5, 16, dtype=torch.float64).to(dtype).requires_grad_()
    torch.manual_seed(3)
    answer = module(hidden, mask)[kept]
    (answer.double() * torch.linspace(-1, 2, 16, dtype=torch.float64)).square().sum().backward()
    named = {name: weight.grad for name, weight in module.named_parameters()}
    return {"answer": answer.detach(), "hidden": hidden.grad, **named}


def additive(kept: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(kept.shape).masked_fill(~kept, torch.finfo(torch.float32).min)
    return mask[:, None, None].expand(-1, 1, kept.shape[1], -1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", [None, additive(WHOLE)])
def test_answers_and_gradients_are_those_of_the_stock_layer(training, mask):
    # Without padding dropout draws the same masks, too.
    stock = layer(hidden_dropout_prob=0.25).train(training)
    ours = swapped(stock)
    assert type(ours) is CpuLayer
    expected, found = answers(stock, WHOLE, mask), answers(ours, WHOLE, mask)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name, atol=1e-9, rtol=1e-9)
    assert expected["hidden"].abs().max() > 0.1


def test_padding_is_neither_seen_nor_computed():
    stock = layer().eval()
    ours = swapped(stock)
    expected, found = (answers(each, PADDED, additive(PADDED)) for each in (stock, ours))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name, atol=1e-9, rtol=1e-9)
    padding = ours(torch.randn(3, 5, 16, dtype=torch.float64), additive(PADDED))[~PADDED]
    assert not padding.any()


def test_little_padding_is_computed_and_not_seen():
    kept = torch.ones(3, 20, dtype=torch.bool)
    kept[2, 19] = False
    stock = layer().eval()
    ours = swapped(stock)
    hidden = torch.randn(3, 20, 16, dtype=torch.float64)
    expected, found = stock(hidden, additive(kept)), ours(hidden, additive(kept))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert not torch.allclose(ours(hidden, None)[2], found[2])


def test_dropout_with_padding_repeats_and_has_its_own_gradient():
    ours = swapped(layer(hidden_dropout_prob=0.25)).train()
    first, again = (answers(ours, PADDED, additive(PADDED)) for _ in range(2))
    assert torch.equal(first["answer"], again["answer"])
    hidden = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)

    def seeded(values):
        torch.manual_seed(3)
        return ours(values, additive(PADDED))[PADDED]

    assert torch.autograd.gradcheck(seeded, hidden, fast_mode=True)


def test_autocast_computes_in_bf16_and_leaves_gradients_in_fp32():
    stock = layer().float().eval()
    ours = swapped(stock)
    with torch.autocast("cpu", torch.bfloat16):
        answer = ours(torch.randn(3, 5, 16), additive(PADDED))
        found = answers(ours, PADDED, additive(PADDED), dtype=torch.float32)
    assert answer.dtype == torch.bfloat16
    expected = answers(stock, PADDED, additive(PADDED), dtype=torch.float32)
    for name in set(expected) - {"answer", "attention.self.key.bias"}:
        assert found[name].dtype == torch.float32
        error = (found[name] - expected[name]).norm() / expected[name].norm()
        assert error < 0.03, name


def test_layers_that_are_not_plain_stay_as_they_are(checkpoint):
    assert type(swapped(layer(attention_probs_dropout_prob=0.1))) is BertLayer
    assert type(swapped(layer(hidden_act="relu"))) is BertLayer
    assert type(swapped(layer(hidden_dropout_prob=0.999))) is BertLayer
    assert type(swapped(layer().requires_grad_(False))) is BertLayer
    for attention, kind in (("eager", CpuLayer), ("sdpa", BertLayer)):
        model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, attn_implementation=attention, attention_probs_dropout_prob=0.0
        )
        use_first_token_layer(model)
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(target_modules=["query"]))
        use_cpu_layers(adapted)
        assert not any(isinstance(each, CpuLayer) for each in adapted.modules())
        use_cpu_layers(model)
        *others, last = model.bert.encoder.layer
        assert {type(each) for each in others} == {kind}
        assert type(last) is FirstTokenLayer


def test_a_fine_tune_on_a_cpu_uses_it_unless_compiled_or_sharded(
    config_file, tmp_path, monkeypatch
):
    from smstune.training import assemble as assemble_module
    from smstune.training.trainer import SmsTrainer

    def kinds(*overrides):
        paths = [f"training.output_dir={tmp_path}/run", *overrides]
        model = assemble_module.assemble(load_config(config_file, [*TINY_OVERRIDES, *paths])).model
        return {type(each) for each in model.bert.encoder.layer}

    assert kinds() == {CpuLayer, FirstTokenLayer}
    assert kinds("training.torch_compile=true") == {BertLayer, FirstTokenLayer}

    # The launcher's FSDP looks for the name.
    class Sharded(SmsTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.is_fsdp_enabled = True

    monkeypatch.setattr(assemble_module, "SmsTrainer", Sharded)
    assert kinds() == {BertLayer, FirstTokenLayer}


def test_losses_of_a_fine_tune_are_those_of_stock_layers(config_file, tmp_path, monkeypatch):
    def losses(name):
        overrides = ["training.max_steps=4", "training.logging_steps=1", "model.hidden_dropout=0"]
        overrides.append(f"training.output_dir={tmp_path / name}")
        assert run("finetune", config_file, *TINY_OVERRIDES, *overrides) == 0
        state = json.loads((tmp_path / name / "trainer_state.json").read_text("utf-8"))
        return [row["loss"] for row in state["log_history"] if "loss" in row]

    ours = losses("ours")
    monkeypatch.setattr("smstune.training.assemble.use_cpu_layers", lambda _: None)
    monkeypatch.setattr("smstune.training.assemble.use_first_token_layer", lambda _: None)
    assert ours == pytest.approx(losses("stock"), abs=1e-5)
    told = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )[1]
    assert not any(told.values())
