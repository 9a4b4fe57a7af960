"""From a configuration to a Trainer that is ready to start."""

from __future__ import annotations

import functools
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

from train.command import UserError
from train.config import Config
from train.data.labels import LabelMap
from train.data.prepare import load_preparation, load_split
from train.data.split import SPLITS
from train.data.tokenization import (
    build_tokenizer,
    data_collator,
    load_tokenizer,
    tokenize_dataset,
)
from train.evaluation.metrics import headline
from train.modeling.build import build_new_model, load_pretrained_model
from train.modeling.dropout import use_byte_dropout
from train.modeling.losses import LOSSES, Loss
from train.runtime import Attention, Precision, pick_attention, pick_device, pick_precision
from train.training.arguments import training_arguments
from train.training.trainer import EpochOrder, step_loss


class Place(NamedTuple):
    """Where and how the numbers are computed."""

    device: torch.device
    precision: Precision
    attention: Attention


class Assembled(NamedTuple):
    """A Trainer ready to start, and the parts it was made of."""

    trainer: Trainer
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: LabelMap
    place: Place
    preparation: dict[str, Any]


def assemble(config: Config) -> Assembled:
    """Load data, tokenizer and model as ``config`` says and put them into a Trainer.

    Raises:
        UserError: if data, checkpoint or configuration do not fit together.
    """
    folder = config.data.path
    preparation = load_preparation(folder)
    labels = LabelMap.load(folder / "labels.json")
    splits = {name: load_split(folder, name) for name in SPLITS}
    _check_labels(splits, folder)
    place = _pick_place(config)
    set_seed(config.training.seed)
    tokenizer = _tokenizer(config, splits["train"])
    model = _model(config, labels, tokenizer, place.attention)
    _check_max_length(config.data.max_length, model)
    if place.device.type == "cpu":
        use_byte_dropout(model)
    trainer = _trainer(config, model, tokenizer, splits, labels, place)
    return Assembled(trainer, model, tokenizer, labels, place, preparation)


def _check_labels(splits: dict[str, Dataset], folder: Path) -> None:
    known = set(splits["train"]["label"])
    for name in ("validation", "test"):
        unknown = sorted(set(splits[name]["label"]) - known)
        if unknown:
            raise UserError(
                f"expected every label of {name} in train, found {', '.join(unknown)} only in "
                f"{name} of {folder}: prepare again with more messages of it or without it"
            )
    if len(known) < 2:
        raise UserError(f"expected at least two labels in train of {folder}, found {len(known)}")


def _pick_place(config: Config) -> Place:
    device = pick_device(config.training.device)
    precision = pick_precision(device, config.training.precision)
    return Place(device, precision, pick_attention(device))


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
    place: Place,
) -> Trainer:
    section = config.training
    encoded = {
        name: tokenize_dataset(table, tokenizer, labels, config.data.max_length)
        for name, table in splits.items()
        if name != "test"
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
        compute_metrics=functools.partial(_compute_metrics, loss),
        callbacks=callbacks,
    )


def _compute_metrics(loss: Loss, prediction: EvalPrediction) -> dict[str, float]:
    logits, truth = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    # The trainer's own mean loss counts what several processes fill their last batch with.
    mean = loss(torch.from_numpy(logits).float(), torch.from_numpy(truth)).mean()
    return {**headline(truth, logits.argmax(axis=-1)), "loss": float(mean)}
