"""Each architecture, from a checkpoint in the form that hubs have, at full function."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from doors import TINY_OVERRIDES, change_json, run
from hub_checkpoints import ARCHITECTURES, messages, save_checkpoint
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from smstune import LabelMap, SmsClassifier, UserError
from smstune.deploy.export.graph import as_fused
from smstune.inference.backends.first_token import use_first_token_layer
from smstune.inference.tokenization import Encoder, Padding, pad
from smstune.modeling.build import load_pretrained_model
from smstune.modeling.lora import add_lora
from smstune.modeling.pooling import has_mean_layer, remove_mean_layers, use_pooling
from smstune.modeling.tokenization import build_encoder, load_tokenizer
from smstune.modeling.trim_vocabulary import trim_vocabulary
from smstune.text.pii.placeholders import PLACEHOLDERS

TEXTS = [
    "您的账户已冻结，请点击链接[URL]",
    "全场五折",
    "【云禾银行】您的账户支出350元，余额1208元。",
]
#: They cannot pool by the mean: one layer is repeated, or the classifier reads the last token.
WITHOUT_MEAN = ("albert", "qwen3")
WITH_MEAN = [name for name in ARCHITECTURES if name not in WITHOUT_MEAN]
POOLED_BY_SETTING = ("modernbert", "eurobert")
#: What the layers with adapters are called, where not query and value.
ADAPTED = {
    "deberta-v2": {"query_proj", "value_proj"},
    "mdeberta": {"query_proj", "value_proj"},
    "distilbert": {"q_lin", "v_lin"},
    "modernbert": {"Wqkv"},
    "eurobert": {"q_proj", "v_proj"},
    "qwen3": {"q_proj", "v_proj"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return what gives the folder of an architecture's tiny checkpoint, by name."""
    parent = tmp_path_factory.mktemp("hub")

    def folder(name):
        if name == "mdeberta":
            pytest.importorskip("sentencepiece")
        path = parent / name
        return path if path.exists() else save_checkpoint(name, path)

    return folder


@pytest.fixture
def load(folders):
    """Return what loads an architecture's tokenizer and classifier as a fine-tune does."""

    def load(name):
        path = str(folders(name))
        tokenizer = load_tokenizer(path)
        labels = LabelMap.from_names(["a", "b", "c"])
        torch.manual_seed(0)
        model = load_pretrained_model(path, labels, tokenizer, attention="eager")
        return tokenizer, model.eval()

    return load


def batch_of(tokenizer, texts):
    encoder = build_encoder(tokenizer, 64)
    batch = pad(encoder.encode(texts), encoder.padding)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


@torch.no_grad()
def hidden_states(model, batch):
    return model.base_model(**batch).last_hidden_state


def mean(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("name", [name for name in WITH_MEAN if name not in POOLED_BY_SETTING])
@torch.no_grad()
def test_the_first_token_becomes_the_normed_mean(load, name):
    tokenizer, model = load(name)
    batch = batch_of(tokenizer, TEXTS)
    before = hidden_states(model, batch)
    use_pooling(model, "mean")
    assert has_mean_layer(model)
    expected = torch.nn.functional.layer_norm(mean(before, batch["attention_mask"]), (32,))
    assert torch.allclose(hidden_states(model, batch)[:, 0], expected, atol=0.02)
    assert not torch.allclose(before[:, 0], expected, atol=0.2)
    # A run that is continued has one mean layer, not two.
    assert remove_mean_layers(model) is not None
    assert torch.equal(hidden_states(model, batch), before)


@pytest.mark.parametrize("name", POOLED_BY_SETTING)
@torch.no_grad()
def test_an_architecture_pools_by_its_own_setting(load, name):
    tokenizer, model = load(name)
    batch = batch_of(tokenizer, TEXTS)
    hidden = hidden_states(model, batch)
    inputs = []
    dense = model.head.dense if name == "modernbert" else model.dense
    dense.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    for pooling in ("mean", "cls"):
        use_pooling(model, pooling)
        model(**batch)
    assert torch.allclose(inputs[0], mean(hidden, batch["attention_mask"]), atol=1e-6)
    assert torch.equal(inputs[1], hidden[:, 0])
    # As the run's config.json has it.
    assert model.config.classifier_pooling in ("cls", "bos")


@pytest.mark.parametrize("name", WITHOUT_MEAN)
def test_a_mean_that_cannot_be_is_refused_before_anything_is_loaded(
    config_file, folders, tmp_path, capsys, name
):
    overrides = (f"model.name_or_path={folders(name)}", f"training.output_dir={tmp_path / 'run'}")
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides, "model.pooling=mean") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: model.pooling: {name} cannot pool by the mean")
    assert line.endswith("set model.pooling=cls")
    words = ("model.pooling=mean", "--lang", "zh")
    assert run("finetune", config_file, *TINY_OVERRIDES, *overrides, *words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"错误：model.pooling：{name} 无法做平均池化")


@torch.no_grad()
def test_a_decoder_reads_the_last_token_of_each_message(load, folders):
    stored = json.loads((folders("qwen3") / "config.json").read_text("utf-8"))
    assert "pad_token_id" not in stored
    tokenizer, model = load("qwen3")
    assert model.config.pad_token_id == tokenizer.pad_token_id
    batch = batch_of(tokenizer, TEXTS)
    last = batch["attention_mask"].sum(-1) - 1
    assert len(set(last.tolist())) == 3
    expected = model.score(hidden_states(model, batch)[torch.arange(3), last])
    assert torch.allclose(model(**batch).logits, expected, atol=1e-6)
    for text, logits in zip(TEXTS, expected, strict=True):
        assert torch.allclose(model(**batch_of(tokenizer, [text])).logits[0], logits, atol=1e-5)


def without_padding_token(folder):
    change_json(folder / "tokenizer_config.json", lambda config: config.update(pad_token=None))
    change_json(
        folder / "tokenizer_config.json",
        lambda config: config.update(
            tokenizer_class="PreTrainedTokenizerFast", eos_token="<|im_end|>"
        ),
    )


def test_a_tokenizer_without_a_padding_token_pads_with_the_end_of_a_text(tmp_path):
    folder = save_checkpoint("qwen3", tmp_path / "qwen3")
    without_padding_token(folder)
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.pad_token == "<|im_end|>"
    labels = LabelMap.from_names(["a", "b"])
    model = load_pretrained_model(str(folder), labels, tokenizer, attention="eager")
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model(**batch_of(tokenizer, TEXTS)).logits.shape == (3, 2)


def test_a_text_without_tokens_has_one_of_padding(folders):
    """Qwen3's tokenizer adds no special tokens, so an empty text would have no token at all."""
    tokenizer = load_tokenizer(str(folders("qwen3")))
    encoder = build_encoder(tokenizer, 64)
    assert encoder.encode(["", "好"])[0] == [tokenizer.pad_token_id]
    assert encoder.encode_with_spans("") == ([tokenizer.pad_token_id], [(0, 0)])
    bert = Encoder(
        load_tokenizer(str(folders("bert"))).backend_tokenizer.to_str(), Padding(token_id=0), 64
    )
    assert len(bert.encode([""])[0]) == 2


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_are_on_queries_and_values_whatever_they_are_called(load, name):
    pytest.importorskip("peft")
    tokenizer, model = load(name)
    adapted = add_lora(model, tokenizer, rank=2, alpha=4, dropout=0.0, target_modules=None)
    names = {
        key.partition(".lora_A")[0].rpartition(".")[2]
        for key, weight in adapted.named_parameters()
        if weight.requires_grad and ".lora_A." in key
    }
    assert names == ADAPTED.get(name, {"query", "value"})


def test_queries_and_values_of_no_known_name_are_to_be_given(load):
    pytest.importorskip("peft")
    tokenizer, model = load("qwen3")
    for layer in model.model.layers:
        layer.self_attn.q_projection = layer.self_attn._modules.pop("q_proj")
    with pytest.raises(UserError, match=r"set model\.lora\.target_modules to some of .*q_projecti"):
        add_lora(model, tokenizer, rank=2, alpha=4, dropout=0.0, target_modules=None)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_trimmed_vocabulary_gives_the_very_logits(load, name):
    tokenizer, model = load(name)
    texts = [*messages()[:3], "好[URL]"]
    batch = batch_of(tokenizer, texts)
    assert (
        tokenizer.unk_token_id is None or not (batch["input_ids"] == tokenizer.unk_token_id).any()
    )
    before, n_before = model(**batch).logits, len(tokenizer)
    trimmed = trim_vocabulary(model, tokenizer, texts)
    assert len(trimmed) == model.config.vocab_size < n_before
    assert torch.equal(model(**batch_of(trimmed, texts)).logits, before)
    assert {*PLACEHOLDERS} <= trimmed.get_vocab().keys()


@pytest.mark.parametrize(
    ("name", "in_fp32"),
    [
        ("distilbert", ["pre_classifier", "classifier", "distilbert.transformer.layer.3"]),
        ("deberta-v2", ["pooler", "classifier", "deberta.encoder.layer.3"]),
        ("bert", ["classifier", "bert.pooler", "bert.encoder.layer.3"]),
        ("modernbert", ["head", "classifier"]),
    ],
)
def test_the_mean_and_the_head_stay_in_fp32(load, name, in_fp32):
    _, model = load(name)
    use_pooling(model, "mean")
    # As a run is loaded.
    use_first_token_layer(model)
    assert as_fused(model)[1] == in_fp32


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_full_function(config_file, folders, tmp_path, name):
    """By the commands: fine-tune as it is and in each variant, then all of them to int8."""
    folder = folders(name)
    stored = json.loads((folder / "config.json").read_text("utf-8"))
    start = (
        *TINY_OVERRIDES,
        "training.max_steps=3",
        "data.max_length=60",
        f"model.name_or_path={folder}",
    )
    mean = () if name in WITHOUT_MEAN else ("model.pooling=mean",)
    variants = {
        "plain": (),
        "mean": mean,
        "layers": ("model.keep_layers=[0,2]",),
        "lora": ("model.lora={}",),
        "trimmed": ("model.trim_vocabulary=true",),
        "all": (
            *mean,
            "model.keep_layers=[0,2]",
            "model.trim_vocabulary=true",
        ),
    }
    (tmp_path / "in.txt").write_text("\n".join([*TEXTS, "", "[SEP]"]), "utf-8")
    for variant, overrides in variants.items():
        output = tmp_path / variant
        assert (
            run("finetune", config_file, *start, *overrides, f"training.output_dir={output}") == 0
        )
        assert run("eval", output, "evaluation.bootstrap_samples=0") == 0
        assert run("predict", output, tmp_path / "in.txt", tmp_path / f"{variant}.csv") == 0
        _check_as_plain_transformers_answers(output)
    config = json.loads((tmp_path / "all/config.json").read_text("utf-8"))
    assert config["model_type"] == stored["model_type"]
    for variant in ("plain", "all"):
        output = tmp_path / variant
        # Random weights give nothing to compare: no loss of quality is limited.
        free = ("export.max_macro_f1_loss=1", "export.max_recall_loss=1", "export.max_ece_rise=1")
        assert run("export", output, *free, "--format", "onnx", "onnx-int8") == 0
        of_torch, fp32, int8 = (
            SmsClassifier.from_pretrained(
                output, device="cpu", backend=backend, precision=precision
            ).predict_proba([*TEXTS, ""])
            for backend, precision in (("torch", "fp32"), ("onnx", "fp32"), ("onnx", "int8"))
        )
        assert fp32 == pytest.approx(of_torch, abs=1e-5)
        assert int8 == pytest.approx(of_torch, abs=0.05)
        answers = tmp_path / f"{variant}-int8.csv"
        assert run("predict", output, tmp_path / "in.txt", answers, "--backend", "onnx") == 0
        with answers.open(encoding="utf-8", newline="") as stream:
            assert len(list(csv.DictReader(stream))) == 5


@torch.inference_mode()
def _check_as_plain_transformers_answers(output):
    ours = SmsClassifier.from_pretrained(output, device="cpu", backend="torch", precision="fp32")
    model, keys = AutoModelForSequenceClassification.from_pretrained(
        output, output_loading_info=True
    )
    assert not any(keys.values())
    assert type(model).__module__.startswith("transformers.models.")
    tokenizer = AutoTokenizer.from_pretrained(output)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    logits = model.eval()(**batch).logits
    assert ours.encoder_logits(TEXTS) == pytest.approx(logits.numpy(), abs=1e-4)
