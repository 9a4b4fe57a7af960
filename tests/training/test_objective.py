"""The objective of a step through the Trainer: accumulation, R-Drop, FGM, weights, rates."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from doors import TINY_OVERRIDES, run
from torch.nn import functional
from transformers import AutoModel, EuroBertConfig

from smstune.config.loading import load_config
from smstune.training.assemble import assemble
from smstune.training.regularisers import symmetric_divergence

NO_DROPOUT = ("model.hidden_dropout=0", "model.attention_dropout=0", "model.classifier_dropout=0")
LOSSES = {
    "cross_entropy": ("loss.label_smoothing=0.1",),
    "focal": ("loss.class_weights=inverse",),
    "ldam": ("loss.class_weights=effective_number", "loss.reweight_after=0.5"),
    "logit_adjusted": ("loss.tau=0.5", "training.class_balanced_sampling=true"),
}


@pytest.fixture
def trainer(config_file, tmp_path):
    """Return a function that assembles the trainer of a configuration, ready for a step."""

    def build(*overrides):
        arguments = [*TINY_OVERRIDES, *overrides, f"training.output_dir={tmp_path / 'run'}"]
        trainer = assemble(load_config(config_file, arguments)).trainer
        trainer.state.max_steps = 10
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        return trainer

    return build


def batches(trainer, *sizes):
    rows = iter(trainer.train_dataset)
    return [trainer.data_collator([next(rows) for _ in range(size)]) for size in sizes]


def gradients(trainer, *sizes):
    trainer.model.zero_grad()
    for batch in batches(trainer, *sizes):
        trainer.training_step(trainer.model, batch, torch.tensor(sum(sizes)))
    named = trainer.model.named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


@pytest.mark.parametrize("name", [*LOSSES, "r_drop and fgm"])
def test_accumulated_steps_have_the_gradient_of_one(trainer, name):
    options = LOSSES.get(name, ("loss.r_drop=1", "loss.fgm=0.5"))
    chosen = [f"loss.name={name}"] if name in LOSSES else []
    ready = trainer(*NO_DROPOUT, *chosen, *options)
    whole = gradients(ready, 8)
    parts = gradients(ready, 2, 2, 2, 2)
    assert max(grad.abs().max() for grad in whole.values()) > 1e-3
    for key, grad in whole.items():
        assert torch.allclose(grad, parts[key], atol=1e-6), key


def test_accumulation_does_not_change_what_a_run_learns(config_file, tmp_path):
    losses = []
    for batch, steps in ((8, 1), (2, 4)):
        output = tmp_path / str(steps)
        overrides = (
            "training.max_steps=4",
            "training.logging_steps=1",
            f"training.per_device_train_batch_size={batch}",
            f"training.gradient_accumulation_steps={steps}",
            f"training.output_dir={output}",
        )
        assert run("finetune", config_file, *TINY_OVERRIDES, *NO_DROPOUT, *overrides) == 0
        history = json.loads((output / "trainer_state.json").read_text("utf-8"))["log_history"]
        losses.append([row["loss"] for row in history if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_symmetric_divergence_by_hand():
    left, right = torch.randn(5, 3), torch.randn(5, 3)
    p, q = left.log_softmax(-1), right.log_softmax(-1)
    both = functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    both = both + functional.kl_div(p, q, log_target=True, reduction="none").sum(-1)
    assert torch.allclose(symmetric_divergence(left, right), both / 2, atol=1e-6)


def test_r_drop_adds_the_divergence_of_two_passes(trainer):
    ready = trainer(*NO_DROPOUT, "loss.r_drop=2")
    (batch,) = batches(ready, 4)
    single = trainer(*NO_DROPOUT)
    single.model.load_state_dict(ready.model.state_dict())
    loss = ready.compute_loss(ready.model.train(), dict(batch))
    # Without dropout both passes agree: the loss is that of two passes, the divergence 0.
    once = single.compute_loss(single.model.train(), dict(batch))
    assert loss.item() == pytest.approx(2 * once.item(), rel=1e-6)
    drops = trainer("model.hidden_dropout=0.5")
    drops.model.load_state_dict(ready.model.state_dict())
    losses = []
    for weight in (1e-9, 2.0, 4.0):
        drops.objective = dataclasses.replace(drops.objective, r_drop=weight)
        torch.manual_seed(0)
        losses.append(drops.compute_loss(drops.model.train(), dict(batch)).item())
    assert losses[1] - losses[0] > 1e-4
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=0.05)


def test_fgm_adds_the_loss_where_it_grows_and_leaves_the_weights(trainer):
    ready = trainer(*NO_DROPOUT, "loss.fgm=0.5")
    plain = trainer(*NO_DROPOUT)
    plain.model.load_state_dict(ready.model.state_dict())
    before = {name: weight.clone() for name, weight in ready.model.state_dict().items()}
    (batch,) = batches(ready, 8)
    once = plain.training_step(plain.model, dict(batch), torch.tensor(8)).item()
    both = ready.training_step(ready.model, dict(batch), torch.tensor(8)).item()
    assert both > 2 * once
    assert all(torch.equal(before[name], w) for name, w in ready.model.state_dict().items())


def test_weights_apply_when_their_time_has_come(trainer):
    ready = trainer(*NO_DROPOUT, "loss.class_weights=inverse", "loss.reweight_after=0.5")
    plain = trainer(*NO_DROPOUT)
    plain.model.load_state_dict(ready.model.state_dict())
    # The tiny messages have equal numbers of each label, which would all get the same weight.
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    ready.objective = dataclasses.replace(ready.objective, class_weights=weights)
    (batch,) = batches(ready, 8)
    expected = plain.compute_loss(plain.model, dict(batch)).item()
    assert ready.compute_loss(ready.model, dict(batch)).item() == pytest.approx(expected)
    ready.state.global_step = 5
    assert ready.compute_loss(ready.model, dict(batch)).item() != pytest.approx(expected, rel=1e-3)


def test_rates_fall_layer_by_layer(trainer):
    ready = trainer("training.layerwise_lr_decay=0.5", "training.weight_decay=0.1")
    names = {id(weight): name for name, weight in ready.model.named_parameters()}
    rates = {}
    for group in ready.optimizer.param_groups:
        for weight in group["params"]:
            name = names[id(weight)]
            rates[name] = group["lr"]
            plain = "bias" in name or "LayerNorm" in name
            assert group["weight_decay"] == (0 if plain else 0.1), name
    assert rates.keys() == set(names.values())
    assert rates["classifier.weight"] == rates["bert.pooler.dense.weight"] == 1e-3
    assert rates["bert.encoder.layer.1.output.dense.weight"] == 1e-3
    assert rates["bert.encoder.layer.0.output.dense.weight"] == 5e-4
    assert rates["bert.embeddings.word_embeddings.weight"] == 2.5e-4


def test_input_embeddings_learn_slowest_whatever_their_name(config_file, checkpoint, tmp_path):
    folder = tmp_path / "eurobert"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("model*", "config.json"))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = EuroBertConfig(vocab_size=600, intermediate_size=16, pad_token_id=0, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    overrides = (f"model.name_or_path={folder}", "training.layerwise_lr_decay=0.5")
    parts = assemble(load_config(config_file, [*TINY_OVERRIDES, *overrides]))
    (words,) = parts.model.get_input_embeddings().parameters()
    (rate,) = (
        group["lr"]
        for group in parts.trainer.create_optimizer().param_groups
        if any(weight is words for weight in group["params"])
    )
    assert rate == 2.5e-4


@pytest.mark.parametrize("name", [*LOSSES, "all regularisers"])
def test_run_trained_with_any_objective_reloads_and_predicts(config_file, tmp_path, name):
    everything = (
        "loss.r_drop=0.5",
        "loss.fgm=0.5",
        "training.layerwise_lr_decay=0.9",
        "model.pooling=mean",
    )
    chosen = (f"loss.name={name}", *LOSSES[name]) if name in LOSSES else everything
    overrides = (*TINY_OVERRIDES, *chosen, "training.max_steps=3", "training.logging_steps=1")
    output = tmp_path / "run"
    assert run("finetune", config_file, *overrides, f"training.output_dir={output}") == 0
    history = json.loads((output / "trainer_state.json").read_text("utf-8"))["log_history"]
    assert all(0 < row["loss"] < 20 for row in history if "loss" in row)
    source = tmp_path / "in.txt"
    source.write_text("您的账户已冻结\n新品上市欢迎光临\n", "utf-8")
    assert run("predict", output, source, tmp_path / "out.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 2
    assert all(row["scores"] for row in rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", LOSSES)
def test_step_on_a_gpu_never_waits_for_the_device(trainer, name):
    ready = trainer("training.device=cuda", "training.precision=bf16", f"loss.name={name}")
    (batch,) = batches(ready, 8)
    batch = {key: tensor.cuda() for key, tensor in batch.items()}
    size = torch.tensor(8, device="cuda")
    ready.training_step(ready.model, dict(batch), size)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ready.training_step(ready.model, dict(batch), size)
        ready.optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
