"""Pretraining through its door: messages without labels in, an encoder folder out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from doors import ROOT, TINY_OVERRIDES, run, write_csv
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, BertConfig, BertModel, Qwen3Config, Qwen3Model

WORDS = (
    "银行",
    "快递",
    "验证码",
    "退订",
    "优惠",
    "账户",
    "包裹",
    "点击",
    "链接",
    "会员",
    "积分",
    "登录",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, prepared):
    """Return 144 messages without labels, a copy, an empty row, a near copy of validation."""
    import pyarrow.parquet as pq

    protected = pq.read_table(prepared / "validation.parquet")["text"][0].as_py()
    texts = [
        f"{first}通知您的{second}已经到达请及时处理{first}{second}"
        for first in WORDS
        for second in WORDS
    ]
    rows = [(text,) for text in (*texts, texts[0], "", f"{protected}啊")]
    return write_csv(tmp_path_factory.mktemp("corpus") / "raw.csv", rows, ("text",))


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, prepared, checkpoint, corpus):
    path = tmp_path_factory.mktemp("config") / "pretrain.yaml"
    path.write_text(
        f"data:\n  path: {prepared}\nmodel:\n  name_or_path: {checkpoint}\n"
        f"pretrain:\n  inputs: ['{corpus}']\n  protect: ['{prepared}']\n  held_out: 0.2\n",
        "utf-8",
    )
    return path


OVERRIDES = (*TINY_OVERRIDES, "training.num_train_epochs=4", "training.learning_rate=5e-3")


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory, config_file):
    folder = tmp_path_factory.mktemp("encoders") / "read"
    output = f"training.output_dir={folder}"
    assert run("pretrain", config_file, *OVERRIDES, output) == 0
    return folder


def test_the_encoder_learns_and_the_folder_says_what_it_read(encoder_folder, corpus):
    facts = json.loads((encoder_folder / "pretraining.json").read_text("utf-8"))
    assert facts["sources"] == [corpus.stem]
    assert facts["messages"] + facts["held_out"] == 144
    assert facts["held_out"] > 0
    assert facts["set_aside"] == 1
    before, after = facts["before"], facts["after"]
    assert set(before) == set(after) == {"all", "raw"}
    assert after["all"]["loss"] < 0.8 * before["all"]["loss"]
    state = json.loads((encoder_folder / "trainer_state.json").read_text("utf-8"))
    losses = [row["eval_loss"] for row in state["log_history"] if "eval_loss" in row]
    assert len(losses) == 5
    assert after["all"]["loss"] == min(losses[1:])
    model, keys = AutoModelForMaskedLM.from_pretrained(encoder_folder, output_loading_info=True)
    assert not keys["missing_keys"]
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_run_fine_tuned_from_it_names_what_it_read(encoder_folder, prepared, tmp_path, capsys):
    facts = json.loads((encoder_folder / "pretraining.json").read_text("utf-8"))
    path = tmp_path / "tiny.yaml"
    path.write_text(f"data: {{path: {prepared}}}\nmodel: {{name_or_path: {encoder_folder}}}\n")
    steps = ("training.max_steps=1", "training.learning_rate=1e-12")
    runs = tmp_path / "first", tmp_path / "second"
    output = f"training.output_dir={runs[0]}"
    assert run("finetune", path, *TINY_OVERRIDES, *steps, output) == 0
    read, tuned = (load_file(folder / "model.safetensors") for folder in (encoder_folder, runs[0]))
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.allclose(read[name], tuned[name], atol=1e-6)
    # The pooler of the first checkpoint has come through.
    name = "bert.pooler.dense.weight"
    assert torch.allclose(read[name], tuned[name], atol=1e-6)
    output = f"training.output_dir={runs[1]}"
    start = f"model.name_or_path={runs[0]}"
    assert run("finetune", path, *TINY_OVERRIDES, *steps, start, output) == 0
    for folder in runs:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        assert manifest["pretraining"] == facts
    capsys.readouterr()
    (encoder_folder / "pretraining.json").rename(tmp_path / "kept.json")
    (encoder_folder / "pretraining.json").write_text('{"sources": 3}')
    status = run("finetune", path, *TINY_OVERRIDES, f"training.output_dir={tmp_path / 'third'}")
    (tmp_path / "kept.json").rename(encoder_folder / "pretraining.json")
    assert (status, "what `smstune pretrain` writes" in capsys.readouterr().err) == (2, True)


def test_killed_and_resumed_it_ends_with_the_same_encoder(encoder_folder, config_file, tmp_path):
    output = tmp_path / "read"
    call = (config_file, *OVERRIDES, f"training.output_dir={output}", "training.save_steps=4")
    words = [sys.executable, ROOT / "tests/child.py", "22:SIGKILL", "pretrain", *call]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in words], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (output / "pretraining.json").exists()
    assert run("pretrain", *call, "training.resume_from_checkpoint=true") == 0
    for name in ("pretraining.json", "model.safetensors"):
        assert (output / name).read_bytes() == (encoder_folder / name).read_bytes()


def test_a_folder_that_was_pretrained_before_adds_to_what_it_had_read(
    encoder_folder, config_file, tmp_path
):
    rows = [(f"{word}提醒您今日天气{word}",) for word in WORDS]
    other = write_csv(tmp_path / "other.csv", rows, ("text",))
    overrides = (f"model.name_or_path={encoder_folder}", f"pretrain.inputs=[{other}]")
    unmasked = ("prepare.mask_pii=false", "pretrain.protect=[]", "training.max_steps=1")
    output = f"training.output_dir={tmp_path / 'again'}"
    assert run("pretrain", config_file, *OVERRIDES, *overrides, *unmasked, output) == 0
    first, second = (
        json.loads((folder / "pretraining.json").read_text("utf-8"))
        for folder in (encoder_folder, tmp_path / "again")
    )
    assert second["sources"] == [*first["sources"], "other"]
    assert (first["mask_pii"], second["mask_pii"]) == (True, False)


def test_a_finished_folder_is_not_written_over(encoder_folder, config_file, capsys, tmp_path):
    before = (encoder_folder / "model.safetensors").read_bytes()
    assert run("pretrain", config_file, *OVERRIDES, f"training.output_dir={encoder_folder}") == 2
    assert "found a finished run" in capsys.readouterr().err
    # Nor by the other command, whose own folders end with another file.
    path = tmp_path / "tiny.yaml"
    start = f"model.name_or_path={encoder_folder}"
    path.write_text(config_file.read_text("utf-8"), "utf-8")
    output = f"training.output_dir={encoder_folder}"
    assert run("finetune", path, *TINY_OVERRIDES, start, output) == 2
    assert "found a finished run" in capsys.readouterr().err
    assert (encoder_folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["pretrain=null"], "expected a section pretrain"),
        (["pretrain.protect=[nowhere]"], "found no manifest.json in nowhere"),
        (["pretrain.inputs=[nowhere.csv]"], "found nothing at nowhere.csv"),
        (["prepare.mask_pii=false"], "prepare.mask_pii=true"),
        (["model.lora={}", "model.trim_vocabulary=true"], "model.trim_vocabulary, model.lora"),
        (["loss.name=focal"], "does not follow loss"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    config_file, tmp_path, capsys, overrides, problem
):
    output = f"training.output_dir={tmp_path / 'read'}"
    assert run("pretrain", config_file, *OVERRIDES, output, *overrides) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert problem in error
    assert not (tmp_path / "read").exists()


def test_messages_that_leave_nothing_to_learn_are_refused(config_file, prepared, tmp_path, capsys):
    import pyarrow.parquet as pq

    protected = pq.read_table(prepared / "test.parquet")["text"].to_pylist()
    empty = write_csv(tmp_path / "empty.csv", [(text,) for text in protected], ("text",))
    assert run("pretrain", config_file, *OVERRIDES, f"pretrain.inputs=[{empty}]") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{len(protected)} messages that nearly copy protected ones" in error
    single = write_csv(tmp_path / "single.csv", [(f"{'快递已到' * 4}",)], ("text",))
    assert run("pretrain", config_file, *OVERRIDES, f"pretrain.inputs=[{single}]") == 2
    assert "at least two campaigns" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_that_predicts_no_masked_token_is_refused(
    config_file, checkpoint, tmp_path, capsys
):
    size = {"vocab_size": 700, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    Qwen3Model(Qwen3Config(**size, intermediate_size=16)).save_pretrained(tmp_path)
    assert run("pretrain", config_file, *OVERRIDES, f"model.name_or_path={tmp_path}") == 2
    assert "expected an encoder that predicts masked tokens" in capsys.readouterr().err
    BertModel(BertConfig(**size, intermediate_size=16)).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    content.pop("mask_token")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content), "utf-8")
    assert run("pretrain", config_file, *OVERRIDES, f"model.name_or_path={tmp_path}") == 2
    assert "has no mask token" in capsys.readouterr().err
