"""A training whose numbers are no longer finite ends there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doors import TINY_OVERRIDES, run
from safetensors.torch import load_file

from smstune.training import finetune as stage


def checkpoints(output: Path) -> list[str]:
    return [path.name for path in output.glob("checkpoints/*")]


def test_a_training_that_diverges_says_so(config_file, tmp_path, capsys):
    output = tmp_path / "run"
    overrides = ("training.learning_rate=1e30", f"training.output_dir={output}")
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: expected a finite loss and gradient, found NaN or infinity ")
    assert "lower training.learning_rate" in error
    assert not (output / "manifest.json").exists()


@pytest.mark.parametrize("where", ["middle of an epoch", "end of an epoch"])
def test_a_gradient_that_is_not_finite_ends_the_training_with_the_last_good_checkpoint(
    finished_run, config_file, tmp_path, monkeypatch, capsys, where
):
    state = json.loads((finished_run / "trainer_state.json").read_text("utf-8"))
    step = 3 if where == "middle of an epoch" else state["max_steps"] // 2
    output = tmp_path / "run"
    assemble = stage.assemble

    def with_infinite_gradient(config):
        parts = assemble(config)
        weight = parts.model.classifier.weight

        def infinite(gradient):
            return gradient / 0 if parts.trainer.state.global_step == step - 1 else gradient

        weight.register_hook(infinite)
        return parts

    monkeypatch.setattr(stage, "assemble", with_infinite_gradient)
    overrides = ("training.save_steps=1", f"training.output_dir={output}")
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides) == 2
    assert f"found NaN or infinity in step {step}:" in capsys.readouterr().err.splitlines()[-1]
    assert not (output / "manifest.json").exists()
    for name in checkpoints(output):
        weights = load_file(output / "checkpoints" / name / "model.safetensors")
        assert all(weight.isfinite().all() for weight in weights.values())
    assert f"checkpoint-{step - 1}" in checkpoints(output)
