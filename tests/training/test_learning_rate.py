"""``training.learning_rate: auto``: a number by the encoder's width, before training."""

from __future__ import annotations

import pytest
from doors import TINY_OVERRIDES, run
from transformers import AlbertConfig, PerceiverConfig

from smstune.config.yaml_files import read_yaml
from smstune.training.learning_rate import auto_learning_rate

OVERRIDES = (*TINY_OVERRIDES, "training.max_steps=1")


@pytest.mark.parametrize(
    ("width", "rate"),
    [(32, 2e-4), (384, 2e-4), (512, 1.433e-4), (576, 1.15e-4), (768, 3e-5), (1024, 3e-5)],
)
def test_the_rate_falls_linearly_between_two_widths(width, rate):
    assert auto_learning_rate(width) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(("setting", "stored"), [("auto", 2e-4), ("7e-4", 7e-4)])
def test_the_run_stores_a_number_and_prints_it_if_auto(
    config_file, tmp_path, capsys, setting, stored
):
    words = [f"training.output_dir={tmp_path}/run", f"training.learning_rate={setting}"]
    assert run("finetune", config_file, *OVERRIDES, *words) == 0
    printed = "learning rate 0.0002, for an encoder of width 32\n"
    assert (printed in capsys.readouterr().err) == (setting == "auto")
    assert read_yaml(tmp_path / "run/config.yaml")["training"]["learning_rate"] == stored


def test_a_new_encoder_has_its_own_width(config_file, tmp_path, capsys):
    words = [
        f"training.output_dir={tmp_path}/run",
        "training.learning_rate=auto",
        "model.from_scratch={vocab_size: 500, hidden_size: 16, num_hidden_layers: 1}",
    ]
    assert run("finetune", config_file, *OVERRIDES, *words) == 0
    assert "encoder of width 16\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "pooling", "expected"),
    [
        (AlbertConfig(), "mean", "model.pooling: albert cannot pool by the mean"),
        (PerceiverConfig(), "cls", "training.learning_rate: "),
    ],
)
def test_what_the_encoder_cannot_have_is_said_before_its_weights_are_read(
    config_file, tmp_path, capsys, config, pooling, expected
):
    config.save_pretrained(tmp_path / "without-weights")
    words = [
        f"model.name_or_path={tmp_path}/without-weights",
        f"model.pooling={pooling}",
        "training.learning_rate=auto",
        f"training.output_dir={tmp_path}/run",
    ]
    assert run("finetune", config_file, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "run").exists()
