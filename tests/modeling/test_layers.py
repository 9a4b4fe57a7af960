"""model.keep_layers: a checkpoint's chosen layers as a stock encoder of fewer."""

from __future__ import annotations

import json

import pytest
import torch
from doors import TINY_OVERRIDES, run
from safetensors.torch import load_file

from smstune import SmsClassifier

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
ENDS = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
#: By name: the configuration class, its arguments, and how the weights of a layer begin.
LAYOUTS = {
    "bert": ("BertConfig", SIZES, "bert.encoder.layer"),
    "roberta": ("RobertaConfig", {**SIZES, "pad_token_id": 1}, "roberta.encoder.layer"),
    "xlm-roberta": ("XLMRobertaConfig", {**SIZES, "pad_token_id": 1}, "roberta.encoder.layer"),
    "ernie": ("ErnieConfig", SIZES, "ernie.encoder.layer"),
    "electra": ("ElectraConfig", {**SIZES, "embedding_size": 16}, "electra.encoder.layer"),
    "distilbert": (
        "DistilBertConfig",
        {"dim": 16, "n_layers": 5, "n_heads": 2, "hidden_dim": 24},
        "distilbert.transformer.layer",
    ),
    "modernbert": ("ModernBertConfig", {**SIZES, **ENDS}, "model.layers"),
}


def finetune(config_file, start, output, *overrides):
    still = ("training.max_steps=1", "training.learning_rate=1e-12", "data.max_length=60")
    keys = (f"model.name_or_path={start}", f"training.output_dir={output}")
    return run("finetune", config_file, *TINY_OVERRIDES, *still, *keys, *overrides)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chosen_layers_train_to_a_run_that_loads(config_file, encoder, tmp_path, layout):
    config_class, sizes, prefix = LAYOUTS[layout]
    folder = encoder(config_class, sizes)
    assert finetune(config_file, folder, tmp_path / "run", "model.keep_layers=[0,3]") == 0
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "run"))
    in_folder = prefix.partition(".")[2]
    for number, kept in enumerate((0, 3)):
        names = [name for name in after if name.startswith(f"{prefix}.{number}.")]
        assert names
        for name in names:
            of_layer = name.removeprefix(f"{prefix}.{number}.")
            original = before[f"{in_folder}.{kept}.{of_layer}"]
            assert torch.allclose(after[name], original, atol=1e-6), name
    assert not any(name.startswith(f"{prefix}.2.") for name in after)
    config = json.loads((tmp_path / "run/config.json").read_text("utf-8"))
    assert config.get("num_hidden_layers", config.get("n_layers")) == 2
    types = config.get("layer_types")
    if layout == "modernbert":
        # Of three layers, one attends to all tokens: layers 0 and 3, not 1.
        assert types == ["full_attention", "full_attention"]
    probabilities = SmsClassifier.from_pretrained(tmp_path / "run", device="cpu").predict_proba(
        ["您的账户已冻结"]
    )
    assert probabilities.shape == (1, 4)


def test_a_layer_that_is_repeated_is_repeated_less_often(config_file, encoder, tmp_path):
    """ALBERT's layers are one and the same."""
    folder = encoder("AlbertConfig", {**SIZES, "embedding_size": 16})
    assert finetune(config_file, folder, tmp_path / "run", "model.keep_layers=[0,3]") == 0
    config = json.loads((tmp_path / "run/config.json").read_text("utf-8"))
    assert (config["num_hidden_layers"], config["num_hidden_groups"]) == (2, 1)
    assert SmsClassifier.from_pretrained(tmp_path / "run", device="cpu").predict(["全场五折"])


def test_layers_of_a_run_are_counted_without_its_mean(config_file, learned_run, tmp_path):
    pooling = "model.pooling=mean"
    keep = "model.keep_layers=[1]"
    assert finetune(config_file, learned_run, tmp_path / "run", pooling, keep) == 0
    before, after = (
        load_file(folder / "model.safetensors") for folder in (learned_run, tmp_path / "run")
    )
    layer = "bert.encoder.layer.{}.intermediate.dense.weight"
    assert torch.allclose(after[layer.format(0)], before[layer.format(1)], atol=1e-6)
    # The mean, whose feed-forward block adds nothing.
    assert not after[layer.format(1)].any()
    assert json.loads((tmp_path / "run/config.json").read_text("utf-8"))["num_hidden_layers"] == 2


@pytest.mark.parametrize(
    ("layout", "sizes", "keep", "reason"),
    [
        ("BertConfig", SIZES, "[0,5,9]", "expected indices from 0 to 4, found 5, 9"),
        ("BertConfig", SIZES, "[2,1]", "ascending"),
        ("BertConfig", SIZES, "[-1]", "model.keep_layers"),
        ("BertConfig", SIZES, "[]", "model.keep_layers"),
        (
            "AlbertConfig",
            {**SIZES, "embedding_size": 16, "num_hidden_groups": 2},
            "[0,1]",
            "cannot cut albert",
        ),
        ("AlbertConfig", {**SIZES, "embedding_size": 16}, "[0,5]", "from 0 to 4, found 5"),
        ("ModernBertConfig", {**SIZES, **ENDS}, "[1,3]", "begin with layer 0"),
    ],
)
def test_layers_that_cannot_be_kept_are_refused_in_one_line(
    config_file, encoder, tmp_path, capsys, layout, sizes, keep, reason
):
    folder = encoder(layout, sizes)
    capsys.readouterr()
    assert finetune(config_file, folder, tmp_path / "run", f"model.keep_layers={keep}") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert reason in errors[0]
    assert not (tmp_path / "run").exists()


def test_layers_are_refused_in_the_reader_s_language(config_file, encoder, tmp_path, capsys):
    folder = encoder("BertConfig", SIZES)
    capsys.readouterr()
    words = ("model.keep_layers=[0,9]", "--lang", "zh")
    assert finetune(config_file, folder, tmp_path / "run", *words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "错误：model.keep_layers：序号应在 0 到 4 之间，实际有 9：该编码器共有 5 层"
