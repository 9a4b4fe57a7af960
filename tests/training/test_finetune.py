"""finetune through its door: the run folder, the numbers, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from doors import ROOT, TINY_OVERRIDES, change_json, run
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
    TrainingArguments,
)

from smstune.config.loading import load_config
from smstune.files import file_hash
from smstune.training import assemble as stage
from smstune.training.finetune import finetune

RUN_FILES = {
    "config.json",
    "config.yaml",
    "checkpoints",
    "labels.json",
    "logs",
    "manifest.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer_state.json",
}
# Losses of the first five steps of the tiny fine-tune, fp32, one thread.
GOLDEN = json.loads((ROOT / "tests/golden/losses.json").read_text("utf-8"))


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_run_folder_holds_exactly_these_files(finished_run):
    assert {path.name for path in finished_run.iterdir()} == RUN_FILES


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_losses_are_golden(config_file, tmp_path, checkpointing):
    overrides = ["training.max_steps=5", "training.logging_steps=1"]
    overrides.append(f"training.gradient_checkpointing={checkpointing}")
    output = tmp_path / "run"
    arguments = [*TINY_OVERRIDES, *overrides, f"training.output_dir={output}"]
    assert run("finetune", config_file, *arguments) == 0
    history = json.loads((output / "trainer_state.json").read_text("utf-8"))["log_history"]
    losses = [row["loss"] for row in history if "loss" in row]
    assert losses == pytest.approx(GOLDEN, abs=1e-4)


def test_manifest_says_what_the_run_is(finished_run, prepared):
    manifest = json.loads((finished_run / "manifest.json").read_text("utf-8"))
    assert manifest["labels"] == ["gambling", "bank_phishing", "retail", "bank_alert"]
    assert manifest["parents"] == ["illegal", "fraud", "marketing", "normal"]
    assert manifest["data"]["path"] == str(prepared)
    assert manifest["data"]["contamination"]["group"]["near"] == 0
    assert manifest["training"]["precision"] == "fp32"
    assert manifest["training"]["steps"] > 0
    assert manifest["versions"]["torch"] == torch.__version__


def test_fp16_checkpoint_is_trained_in_fp32_and_placeholders_are_tokens(finished_run):
    assert {tensor.dtype for tensor in weights(finished_run).values()} == {torch.float32}
    tokenizer = AutoTokenizer.from_pretrained(finished_run)
    assert tokenizer.tokenize("点[URL]打[PHONE]") == ["点", "[URL]", "打", "[PHONE]"]


def test_plain_transformers_loads_the_run_folder(finished_run):
    model = AutoModelForSequenceClassification.from_pretrained(finished_run)
    tokenizer = AutoTokenizer.from_pretrained(finished_run)
    assert model.config.id2label == {
        0: "gambling",
        1: "bank_phishing",
        2: "retail",
        3: "bank_alert",
    }
    logits = model(**tokenizer("您的账户已冻结", return_tensors="pt")).logits
    assert logits.shape == (1, 4)


def test_the_resolved_config_gives_the_same_run(finished_run, tmp_path):
    output = tmp_path / "again"
    overrides = [f"training.output_dir={output}"]
    assert run("finetune", finished_run / "config.yaml", *overrides) == 0
    assert same(weights(output), weights(finished_run))


class StopAt(TrainerCallback):
    """Save and fail at a step, as a machine that goes down."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = state.global_step == self.step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("power cut")


def test_one_process_uses_one_gpu_of_several(config_file, tmp_path, monkeypatch, capsys):
    """DataParallel would multiply loss and gradient by the number of GPUs."""
    seen = TrainingArguments.__post_init__

    def three_gpus(arguments):
        seen(arguments)
        arguments._n_gpu = 3

    monkeypatch.setattr(TrainingArguments, "__post_init__", three_gpus)
    arguments = stage.assemble(load_config(config_file, TINY_OVERRIDES)).trainer.args
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 8)
    output = f"training.output_dir={tmp_path / 'run'}"
    assert run("finetune", config_file, *TINY_OVERRIDES, "training.max_steps=1", output) == 0
    assert "accelerate launch --num_processes 3 scripts/finetune.py" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["epoch end", "middle of epoch 1", "middle of epoch 2"])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    finished_run, config_file, tmp_path, monkeypatch, caplog, where
):
    config = load_config(config_file, TINY_OVERRIDES)
    state = json.loads((finished_run / "trainer_state.json").read_text("utf-8"))
    per_epoch = state["max_steps"] // 2
    step = {"epoch end": per_epoch, "middle of epoch 1": 3, "middle of epoch 2": per_epoch + 3}
    output = tmp_path / "run"
    overrides = [*TINY_OVERRIDES, f"training.output_dir={output}"]
    build = stage._trainer

    def build_and_stop(*args):
        trainer = build(*args)
        trainer.add_callback(StopAt(step[where]))
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_trainer", build_and_stop)
        with pytest.raises(RuntimeError, match="power cut"):
            finetune(load_config(config_file, overrides))
    assert "training.resume_from_checkpoint=true" in caplog.text
    assert not (output / "manifest.json").exists()
    resume = "training.resume_from_checkpoint=true"
    assert run("finetune", config_file, *overrides, resume) == 0
    assert same(weights(output), weights(finished_run)), config.training


def test_early_stopping_and_best_checkpoint(config_file, tmp_path):
    output = tmp_path / "run"
    overrides = (
        *TINY_OVERRIDES,
        "training.num_train_epochs=6",
        "training.learning_rate=1e-12",
        "training.early_stopping_patience=2",
        f"training.output_dir={output}",
    )
    assert run("finetune", config_file, *overrides) == 0
    state = json.loads((output / "trainer_state.json").read_text("utf-8"))
    # Nothing is learnt at this rate: the first epoch stays the best, two more are waited for.
    assert state["epoch"] == 3
    assert state["best_global_step"] * 3 == state["global_step"]
    best = weights(output / f"checkpoints/checkpoint-{state['best_global_step']}")
    assert same(weights(output), best)


def call(config_file, capsys, *overrides):
    status = run("finetune", config_file, *TINY_OVERRIDES, *overrides)
    return status, capsys.readouterr().err.splitlines()[-1]


def test_taken_run_folder_is_refused(finished_run, config_file, tmp_path, capsys):
    before = weights(finished_run)
    status, error = call(config_file, capsys, f"training.output_dir={finished_run}")
    assert (status, "found a finished run" in error) == (2, True)
    assert same(weights(finished_run), before)
    shutil.copytree(finished_run / "checkpoints", tmp_path / "run/checkpoints")
    status, error = call(config_file, capsys, f"training.output_dir={tmp_path / 'run'}")
    assert (status, "resume_from_checkpoint=true to resume" in error) == (2, True)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.path=nowhere", "no prepared data in nowhere: run `smstune prepare"),
        ("data.max_length=512", "at most the model's 64 positions"),
        ("model.name_or_path=no-such-owner/no-such-model", "HF_ENDPOINT"),
        ("model.name_or_path=nowhere", "could not load"),
        ("training.precision=fp16", "on a CPU, found fp16"),
        ("training.device=cuda", "found none"),
        ("training.tf32=true", "an NVIDIA GPU from Ampere on, found none"),
    ],
)
def test_useless_call_ends_with_status_2(config_file, tmp_path, capsys, override, expected):
    if override in ("training.device=cuda", "training.tf32=true") and torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    output = tmp_path / "run"
    status, error = call(config_file, capsys, f"training.output_dir={output}", override)
    assert status == 2
    assert error.startswith("error: ")
    assert expected in error
    assert not output.exists()


def test_checkpoint_without_tokenizer_is_told(config_file, checkpoint, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(checkpoint, bare)
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    status, error = call(config_file, capsys, f"model.name_or_path={bare}")
    assert status == 2
    assert "tokenizer" in error


@pytest.mark.parametrize("split", ["validation", "test"])
def test_label_that_train_lacks_is_told(config_file, prepared, tmp_path, capsys, split):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    train = pq.read_table(folder / "train.parquet")
    kept = pc.not_equal(train["label"], "gambling")
    pq.write_table(train.filter(kept), folder / "train.parquet")
    if split == "test":
        validation = pq.read_table(folder / "validation.parquet")
        kept = pc.not_equal(validation["label"], "gambling")
        pq.write_table(validation.filter(kept), folder / "validation.parquet")
    names = [f"{name}.parquet" for name in ("train", "validation", "test")]
    hashes = {name: file_hash(folder / name) for name in names}
    change_json(folder / "manifest.json", lambda manifest: manifest.update(sha256=hashes))
    status, error = call(config_file, capsys, f"data.path={folder}")
    assert status == 2
    assert f"found gambling only in {split}" in error


def test_from_scratch_trains_its_own_tokenizer(config_file, tmp_path):
    size = "{vocab_size: 500, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}"
    overrides = [f"model.from_scratch={size}", f"training.output_dir={tmp_path / 'run'}"]
    arguments = [*TINY_OVERRIDES, *overrides, "training.max_steps=2"]
    assert run("finetune", config_file, *arguments) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert tokenizer.tokenize("您龘[CARD]") == ["您", "[UNK]", "[CARD]"]
