"""Mean pooling in stock BERT, and the last layer that computes one token."""

from __future__ import annotations

import copy

import pytest
import torch
from doors import TINY_OVERRIDES, run
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    ElectraConfig,
)
from transformers import ElectraForSequenceClassification as Electra

from smstune.inference.backends.first_token import use_first_token_layer
from smstune.modeling.pooling import append_mean_layer

IDS = torch.randint(10, 500, (4, 12), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[1, 5:] = 0
MASK[3, 11:] = 0


@pytest.fixture(params=["eager", "sdpa"])
def model(checkpoint, request):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=4, dtype=torch.float32, attn_implementation=request.param
    ).eval()


def test_first_token_is_the_normed_mean_of_all_tokens(model):
    hidden = model.bert(IDS, attention_mask=MASK).last_hidden_state
    mean = (hidden * MASK[..., None]).sum(1) / MASK.sum(1, keepdim=True)
    append_mean_layer(model)
    pooled = model.bert(IDS, attention_mask=MASK).last_hidden_state[:, 0]
    expected = torch.nn.functional.layer_norm(mean, mean.shape[-1:])
    assert torch.allclose(pooled, expected, atol=0.02)
    # Far from what the first token alone would give.
    assert not torch.allclose(pooled, hidden[:, 0], atol=0.2)


def test_last_layer_of_one_token_gives_the_same_answers_and_gradients(model):
    whole = copy.deepcopy(model)
    use_first_token_layer(model)
    logits = [each(IDS, attention_mask=MASK).logits for each in (model, whole)]
    assert torch.allclose(*logits, atol=1e-6)
    for each in logits:
        each.square().sum().backward()
    for (name, few), (_, all_) in zip(
        model.named_parameters(), whole.named_parameters(), strict=True
    ):
        assert torch.allclose(few.grad, all_.grad, atol=1e-5), name


def test_the_last_layer_of_other_encoders_is_left_alone():
    config = ElectraConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    electra = Electra(config)
    use_first_token_layer(electra)
    assert electra(torch.tensor([[1, 2]])).logits.shape == (1, 2)


def test_a_head_that_reads_every_token_gets_every_token(checkpoint):
    model = AutoModelForTokenClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    expected = model(IDS, attention_mask=MASK).logits
    use_first_token_layer(model)
    assert torch.equal(model(IDS, attention_mask=MASK).logits, expected)


def test_plain_transformers_answers_as_a_run_trained_by_mean_pooling(config_file, tmp_path):
    overrides = ["model.pooling=mean", "training.max_steps=3", f"training.output_dir={tmp_path}/r"]
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides) == 0
    from smstune.inference.classifier import SmsClassifier

    ours = SmsClassifier.from_pretrained(tmp_path / "r", device="cpu", precision="fp32")
    plain, told = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "r", output_loading_info=True
    )
    assert not any(told.values())
    assert type(plain).__module__ == "transformers.models.bert.modeling_bert"
    text = "您的账户已冻结"
    inputs = AutoTokenizer.from_pretrained(tmp_path / "r")(text, return_tensors="pt")
    assert ours.encoder_logits([text])[0].tolist() == pytest.approx(
        plain(**inputs).logits[0].tolist(), abs=1e-5
    )
