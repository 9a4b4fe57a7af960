"""Every form of checkpoint trains to a run that answers, or is refused in one line before."""

from __future__ import annotations

import json
import pickle
from importlib.util import find_spec

import pytest
import torch
from doors import TINY_OVERRIDES, change_json, run
from safetensors.torch import load_file, save_file

from smstune import SmsClassifier

TEXTS = ["您的账户已冻结,请点击链接", "全场五折"]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
ENDS = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
#: By name: the configuration class of an encoder and its arguments.
TRAINED = {
    "distilbert": ("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
    "albert": ("AlbertConfig", {**SIZES, "embedding_size": 16}),
    "modernbert": ("ModernBertConfig", {**SIZES, **ENDS}),
    "eurobert": ("EuroBertConfig", {**SIZES, **ENDS, "num_key_value_heads": 2}),
    "xlnet": ("XLNetConfig", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}),
    "roberta": ("RobertaConfig", {**SIZES, "pad_token_id": 1}),
    "electra": ("ElectraConfig", {**SIZES, "embedding_size": 16}),
    "roformer": ("RoFormerConfig", {**SIZES, "embedding_size": 32}),
    "bert": ("BertConfig", SIZES),
}
BART = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}


def finetune(config_file, folder, output, *overrides):
    paths = (f"model.name_or_path={folder}", f"training.output_dir={output}")
    return run("finetune", config_file, *TINY_OVERRIDES, "training.max_steps=2", *paths, *overrides)


def as_it_is(folder):
    pass


def of_no_model_type(folder):
    change_json(folder / "config.json", lambda config: config.pop("model_type"))


def of_nezha(folder):
    change_json(folder / "config.json", lambda config: config.update(model_type="nezha"))


def with_code(folder):
    code = {"auto_map": {"AutoModelForSequenceClassification": "evil.Evil"}}
    change_json(folder / "config.json", lambda config: config.update(code))


def with_tokenizer_code(folder):
    code = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    change_json(folder / "tokenizer_config.json", lambda config: config.update(code))


def with_hidden_states(folder):
    change_json(folder / "config.json", lambda config: config.update(output_hidden_states=True))


def with_attentions(folder):
    change_json(folder / "config.json", lambda config: config.update(output_attentions=True))


def with_a_tuple(folder):
    change_json(folder / "config.json", lambda config: config.update(return_dict=False))


def change_weights(folder, change):
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def of_other_names(folder):
    change_weights(folder, lambda found: {f"other.{name}": found[name] for name in found})


def without_a_layer(folder):
    change_weights(
        folder, lambda found: {name: found[name] for name in found if ".layer.1." not in name}
    )


def without_a_pooler(folder):
    change_weights(
        folder, lambda found: {name: found[name] for name in found if "pooler" not in name}
    )


def with_a_weight_of_no_use(folder):
    change_weights(folder, lambda found: {**found, "cls.bias": torch.zeros(3)})


def with_a_head_for_other_labels(folder):
    head = {"classifier.weight": torch.ones(7, 32), "classifier.bias": torch.ones(7)}
    change_weights(folder, lambda found: {f"bert.{name}": found[name] for name in found} | head)


def of_another_shape(folder):
    change_json(folder / "config.json", lambda config: config.update(intermediate_size=48))


def of_nan(folder):
    nan = {"embeddings.LayerNorm.weight": torch.full((32,), float("nan"))}
    change_weights(folder, lambda found: found | nan)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def as_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))


def as_a_pickle_of_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_a_chat_template(folder):
    (folder / "chat_template.jinja").write_text("{{ messages }}", "utf-8")


def with_a_chat_template_in_the_configuration(folder):
    template = {"chat_template": "{{ messages }}"}
    change_json(folder / "tokenizer_config.json", lambda config: config.update(template))


def with_a_broken_tokenizer(folder):
    (folder / "tokenizer_config.json").write_text("{", "utf-8")


def with_a_vocabulary_alone(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)), "utf-8")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def with_a_vocabulary_and_a_class_elsewhere(folder):
    """Name a tokenizer of PaddleNLP."""
    with_a_vocabulary_alone(folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ErnieTokenizer"}', "utf-8")


def with_no_tokenizer(folder):
    with_a_vocabulary_alone(folder)
    (folder / "vocab.txt").unlink()


def with_code_that_is_in_transformers(folder):
    """As EuroBERT's repository has it."""
    code = {"auto_map": {"AutoConfig": "configuration_bert.BertConfig"}}
    change_json(folder / "config.json", lambda config: config.update(code))


def with_code_of_another_configuration(folder):
    """As Jina's BERT has it, which is not the stock one."""
    code = {"auto_map": {"AutoConfig": "jina/code--configuration_bert.JinaBertConfig"}}
    change_json(folder / "config.json", lambda config: config.update(code))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, as_it_is) for name in TRAINED),
        ("bert", with_hidden_states),
        ("bert", with_attentions),
        ("bert", with_a_tuple),
        ("bert", without_a_pooler),
        ("bert", with_a_weight_of_no_use),
        ("bert", with_a_head_for_other_labels),
        ("bert", as_a_pickle_of_weights),
        ("bert", with_a_chat_template),
        ("bert", with_a_chat_template_in_the_configuration),
        ("bert", with_code_that_is_in_transformers),
        ("albert", with_a_vocabulary_alone),
        ("albert", with_a_vocabulary_and_a_class_elsewhere),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_encoder_trains_to_a_run_that_two_loads_answer_alike(
    config_file, encoder, tmp_path, name, change
):
    folder = encoder(*TRAINED[name])
    change(folder)
    assert finetune(config_file, folder, tmp_path / "run") == 0
    first, second = (
        SmsClassifier.from_pretrained(tmp_path / "run", device="cpu", precision="fp32")
        for _ in range(2)
    )
    answers = first.predict_proba(TEXTS)
    assert (answers == second.predict_proba(TEXTS)).all()
    # As a processor with bf16 answers, where the other number format has to be everywhere.
    rounded = SmsClassifier.from_pretrained(tmp_path / "run", device="cpu", precision="bf16")
    assert rounded.predict_proba(TEXTS) == pytest.approx(answers, abs=0.02)
    # The weights are those that were trained: the messages are told apart.
    assert (answers[0] != answers[1]).any()
    assert not (tmp_path / "run/chat_template.jinja").exists()
    assert "auto_map" not in (tmp_path / "run/config.json").read_text("utf-8")
    assert "messages" not in (tmp_path / "run/tokenizer_config.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (
            "distilbert",
            {"dropout": 0.31, "attention_dropout": 0.32, "seq_classif_dropout": 0.33},
        ),
        (
            "albert",
            {
                "hidden_dropout_prob": 0.31,
                "attention_probs_dropout_prob": 0.32,
                "classifier_dropout_prob": 0.33,
            },
        ),
    ],
)
def test_dropout_keys_reach_each_architecture(config_file, encoder, tmp_path, name, written):
    rates = ("hidden_dropout=0.31", "attention_dropout=0.32", "classifier_dropout=0.33")
    keys = [f"model.{rate}" for rate in rates]
    assert finetune(config_file, encoder(*TRAINED[name]), tmp_path / "run", *keys) == 0
    config = json.loads((tmp_path / "run/config.json").read_text("utf-8"))
    assert {key: config[key] for key in written} == written


def of_longer_messages(folder):
    """Ask for one of the two positions that RoBERTa never uses."""
    return ("data.max_length=65",)


BERT, ALBERT = TRAINED["bert"], TRAINED["albert"]


@pytest.mark.parametrize(
    ("config", "change", "reason"),
    [
        (BERT, of_no_model_type, "config.json has no model_type"),
        (BERT, of_nezha, "does not know the model_type nezha of config.json"),
        (BERT, with_code, "its own code (auto_map in config.json), which is never run"),
        (BERT, with_code_of_another_configuration, "its own code"),
        (BERT, with_tokenizer_code, "auto_map in tokenizer_config.json"),
        (BERT, of_other_names, "found 37 of 37 missing"),
        (BERT, without_a_layer, "found 16 of 37 missing"),
        (BERT, of_another_shape, "of another shape"),
        (BERT, of_nan, "NaN or infinity"),
        (BERT, as_a_pickle, "could not load the encoder"),
        (BERT, with_a_broken_tokenizer, "could not load the tokenizer"),
        (BERT, with_no_tokenizer, "tokenizer"),
        (ALBERT, with_no_tokenizer, "tokenizer"),
        # It cuts words by rjieba, in Python.
        (
            TRAINED["roformer"],
            with_a_vocabulary_alone,
            "Custom PreTokenizer" if find_spec("rjieba") else "rjieba",
        ),
        (("BartConfig", BART), as_it_is, "it is an encoder with a decoder"),
        (("VisualBertConfig", SIZES), as_it_is, "transformers has no classifier for it"),
        (TRAINED["roberta"], of_longer_messages, "at most the model's 64 positions, found 65"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_trained_is_refused_in_one_line_before(
    config_file, encoder, tmp_path, capsys, config, change, reason
):
    folder = encoder(*config)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", "utf-8")
    overrides = change(folder) or ()
    assert finetune(config_file, folder, tmp_path / "run", *overrides) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert reason in lines[-1]
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ran").exists()


def test_weights_without_a_use_are_counted_with_verbose(config_file, encoder, tmp_path, capsys):
    folder = encoder(*BERT)
    with_a_weight_of_no_use(folder)
    assert finetune(config_file, folder, tmp_path / "quiet") == 0
    assert "weights of the checkpoint" not in capsys.readouterr().err
    assert finetune(config_file, folder, tmp_path / "verbose", "--verbose") == 0
    assert "1 weights of the checkpoint are not used" in capsys.readouterr().err


def test_remote_code_is_no_key(config_file, encoder, tmp_path, capsys):
    assert finetune(config_file, "x", tmp_path / "run", "model.trust_remote_code=true") == 2
    assert "trust_remote_code" in capsys.readouterr().err


def test_a_head_whose_labels_have_no_names_is_not_taken_over(config_file, encoder, tmp_path):
    """It has as many rows as there are labels, but nobody knows what they mean."""
    folder = encoder(*BERT)
    head = {"classifier.weight": torch.full((4, 32), 9.0), "classifier.bias": torch.full((4,), 9.0)}
    change_weights(folder, lambda found: {f"bert.{name}": found[name] for name in found} | head)
    change_json(folder / "config.json", lambda config: config.update(num_labels=4))
    assert finetune(config_file, folder, tmp_path / "run") == 0
    assert load_file(tmp_path / "run/model.safetensors")["classifier.weight"].abs().max() < 1
