"""A fine-tune: prepared data and a configuration in, a run folder out."""

from __future__ import annotations

import functools
import logging
import platform
import sys
import time
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    set_seed,
)
from transformers.trainer_utils import TrainOutput

from train.command import UserError
from train.config import Config, dump_config
from train.data.labels import LabelMap
from train.data.prepare import load_preparation, load_split
from train.data.tokenization import (
    build_tokenizer,
    data_collator,
    load_tokenizer,
    tokenize_dataset,
)
from train.evaluation.metrics import headline
from train.modeling.artifact import Manifest, TextOptions, save_artifact
from train.modeling.build import build_new_model, load_pretrained_model
from train.modeling.losses import LOSSES
from train.runtime import Attention, Precision, pick_attention, pick_device, pick_precision
from train.training.arguments import training_arguments
from train.training.trainer import EpochOrder, step_loss

_LIBRARIES = ("smstune", "torch", "transformers", "datasets", "accelerate", "tokenizers")

logger = logging.getLogger(__name__)


class Device(NamedTuple):
    """Where and how the numbers are computed."""

    device: torch.device
    precision: Precision
    attention: Attention


def finetune(config: Config) -> Path:
    """Fine-tune as ``config`` says and return the run folder.

    The best checkpoint by macro-F1 on validation becomes the run's model. A run that fails or is
    killed leaves its checkpoints; ``training.resume_from_checkpoint=true`` goes on to the weights
    that an uninterrupted run would have had.

    Raises:
        UserError: if data, checkpoint or configuration do not fit, or the run folder is taken.
    """
    run = config.training.output_dir
    checkpoint = _checkpoint_to_resume(run, resume=config.training.resume_from_checkpoint)
    preparation = load_preparation(config.data.path)
    labels = LabelMap.load(config.data.path / "labels.json")
    splits = {name: load_split(config.data.path, name) for name in ("train", "validation")}
    _check_labels(splits, config.data.path)
    place = _pick_place(config)
    set_seed(config.training.seed)
    tokenizer = _tokenizer(config, splits["train"])
    model = _model(config, labels, tokenizer, place.attention)
    _check_max_length(config.data.max_length, model)
    trainer = _trainer(config, model, tokenizer, splits, labels, place)
    started = time.perf_counter()
    try:
        # The trainer's progress bar writes its losses to stdout, where results belong.
        with redirect_stdout(sys.stderr):
            output = trainer.train(resume_from_checkpoint=checkpoint)
    except BaseException:
        logger.error(_how_to_resume(run))
        raise
    manifest = Manifest(
        labels=list(labels.names),
        parents=list(labels.parents),
        text=TextOptions.model_validate(preparation["text"]),
        max_length=config.data.max_length,
        data={
            "path": str(config.data.path),
            "sha256": preparation["sha256"],
            "contamination": preparation["contamination"],
            "split": preparation["split"],
        },
        base_model=_base_model(config, model),
        training=_training_facts(config, trainer, output, place, time.perf_counter() - started),
        versions={name: version(name) for name in _LIBRARIES}
        | {"python": platform.python_version()},
    )
    if trainer.is_world_process_zero():
        save_artifact(run, model, tokenizer, labels, manifest, dump_config(config))
        trainer.state.save_to_json(str(run / "trainer_state.json"))
    return run


def _checkpoint_to_resume(run: Path, *, resume: bool) -> str | None:
    """Return the last whole checkpoint of ``run``, or ``None`` for a fresh start."""
    if (run / "manifest.json").exists():
        raise UserError(
            f"expected a new run folder, found a finished run in {run}: choose another "
            "training.output_dir or remove it"
        )
    # The trainer writes its state last; a checkpoint without it was cut off.
    whole = [
        folder
        for folder in run.glob("checkpoints/checkpoint-*")
        if (folder / "trainer_state.json").exists()
    ]
    if not whole:
        if resume:
            logger.warning("warning: no checkpoint in %s, starting from the beginning", run)
        return None
    if not resume:
        raise UserError(
            f"expected a new run folder, found checkpoints of an unfinished run in {run}: add "
            "training.resume_from_checkpoint=true to go on, choose another training.output_dir, "
            "or remove it"
        )
    return str(max(whole, key=lambda folder: int(folder.name.rpartition("-")[2])))


def _how_to_resume(run: Path) -> str:
    if not any(run.glob("checkpoints/checkpoint-*/trainer_state.json")):
        return f"the run in {run} ended before its first checkpoint: start it again"
    return (
        f"the run in {run} is unfinished: the same command with "
        "training.resume_from_checkpoint=true goes on from its last checkpoint"
    )


def _check_labels(splits: dict[str, Dataset], folder: Path) -> None:
    known = set(splits["train"]["label"])
    unknown = sorted(set(splits["validation"]["label"]) - known)
    if unknown:
        raise UserError(
            f"expected every label of validation in train, found {', '.join(unknown)} only in "
            f"validation of {folder}: prepare again with more messages of it or without it"
        )
    if len(known) < 2:
        raise UserError(f"expected at least two labels in train of {folder}, found {len(known)}")


def _pick_place(config: Config) -> Device:
    device = pick_device(config.training.device)
    precision = pick_precision(device, config.training.precision)
    return Device(device, precision, pick_attention(device))


def _tokenizer(config: Config, train: Dataset) -> PreTrainedTokenizerBase:
    section = config.model
    if section.from_scratch is not None:
        return build_tokenizer(train["text"], section.from_scratch.vocab_size)
    return load_tokenizer(
        section.name_or_path,
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )


def _model(
    config: Config, labels: LabelMap, tokenizer: PreTrainedTokenizerBase, attention: Attention
) -> PreTrainedModel:
    section = config.model
    dropouts = {
        "hidden_dropout_prob": section.hidden_dropout,
        "attention_probs_dropout_prob": section.attention_dropout,
        "classifier_dropout": section.classifier_dropout,
    }
    chosen = {name: value for name, value in dropouts.items() if value is not None}
    if section.from_scratch is not None:
        return build_new_model(
            section.from_scratch.model_dump(exclude={"vocab_size"}),
            labels,
            tokenizer,
            attention=attention,
            max_length=config.data.max_length,
            dropouts=chosen,
        )
    return load_pretrained_model(
        section.name_or_path,
        labels,
        tokenizer,
        attention=attention,
        dropouts=chosen,
        revision=section.revision,
        trust_remote_code=section.trust_remote_code,
    )


def _check_max_length(max_length: int, model: PreTrainedModel) -> None:
    positions = getattr(model.config, "max_position_embeddings", max_length)
    if max_length > positions:
        raise UserError(
            f"data.max_length: expected at most the model's {positions} positions, found "
            f"{max_length}: lower it"
        )


def _trainer(
    config: Config,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    splits: dict[str, Dataset],
    labels: LabelMap,
    place: Device,
) -> Trainer:
    section = config.training
    encoded = {
        name: tokenize_dataset(table, tokenizer, labels, config.data.max_length)
        for name, table in splits.items()
    }
    callbacks: list[TrainerCallback] = [EpochOrder()]
    if section.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(section.early_stopping_patience))
    loss = functools.partial(LOSSES[config.loss.name], label_smoothing=config.loss.label_smoothing)
    return Trainer(
        model=model,
        args=training_arguments(
            section, section.output_dir / "checkpoints", place.device, place.precision
        ),
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=data_collator(tokenizer, place.device.type),
        compute_loss_func=step_loss(loss),
        compute_metrics=_compute_metrics,
        callbacks=callbacks,
    )


def _compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    logits = np.asarray(prediction.predictions)
    return headline(np.asarray(prediction.label_ids), logits.argmax(axis=-1))


def _base_model(config: Config, model: PreTrainedModel) -> dict[str, str | None]:
    if config.model.from_scratch is not None:
        return {"name_or_path": None, "revision": None}
    commit = getattr(model.config, "_commit_hash", None)
    return {
        "name_or_path": config.model.name_or_path,
        "revision": commit or config.model.revision,
    }


def _training_facts(
    config: Config, trainer: Trainer, output: TrainOutput, place: Device, seconds: float
) -> dict[str, Any]:
    return {
        "device": place.device.type,
        "precision": place.precision,
        "attention": place.attention,
        "seed": config.training.seed,
        "wall_seconds": round(seconds, 1),
        "steps": output.global_step,
        "train_loss": output.training_loss,
        "messages_per_second": output.metrics.get("train_samples_per_second"),
        "best_validation_macro_f1": trainer.state.best_metric,
    }
