"""From a configuration to a Trainer that is ready to start."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from smstune.config.choices import Attention, Precision
from smstune.config.schema import LOSS_KEYS, Config
from smstune.data.manifest import Preparation
from smstune.data.prepared import check_prepared_files, load_preparation, load_split
from smstune.data.splits.methods import SPLITS
from smstune.errors import UserError
from smstune.evaluation.calibration.fit import check_section
from smstune.evaluation.scores.metrics import headline
from smstune.inference.backends.first_token import use_first_token_layer
from smstune.inference.backends.torch_devices import (
    hide_loading_bars,
    keep_freed_memory,
    pick_attention,
    pick_device,
    pick_precision,
)
from smstune.inference.labels import LabelMap
from smstune.inference.origin import PretrainingFacts
from smstune.inference.tokenization import Encoder
from smstune.language import Message
from smstune.modeling.build import (
    build_new_model,
    check_answers,
    load_encoder_config,
    load_pretrained_model,
    usable_positions,
)
from smstune.modeling.cpu_layer import use_cpu_layers
from smstune.modeling.dropout import use_byte_dropout
from smstune.modeling.layers import keep_layers
from smstune.modeling.lora import add_lora
from smstune.modeling.losses import CLASS_WEIGHTS, LOSSES, WITH_COUNTS, Loss
from smstune.modeling.origin import load_pretraining
from smstune.modeling.pooling import remove_mean_layers, require_mean_pooling, use_pooling
from smstune.modeling.tokenization import (
    PaddingCollator,
    add_missing_characters,
    build_encoder,
    build_tokenizer,
    load_tokenizer,
    tokenize_dataset,
)
from smstune.modeling.trim_vocabulary import trim_vocabulary
from smstune.training.arguments import training_arguments
from smstune.training.augment import AugmentedRows, EpochRows
from smstune.training.distillation.distill import Distilled, distill
from smstune.training.epoch_order import EpochOrder
from smstune.training.learning_rate import auto_learning_rate
from smstune.training.tracking import tracking_callbacks
from smstune.training.trainer import Objective, SmsTrainer, diverged

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComputeSetup:
    """Where and how the numbers are computed."""

    device: torch.device
    precision: Precision
    attention: Attention


@dataclass(frozen=True)
class PreparedData:
    """A prepared folder: its manifest, its labels, and its splits by name."""

    preparation: Preparation
    labels: LabelMap
    splits: dict[str, Dataset]


@dataclass(frozen=True)
class Assembled:
    """A Trainer ready to start, and what it was made of.

    ``config`` has the learning rate as a number; ``distilled`` is what a teacher answered, if any;
    ``pretraining`` what the checkpoint says that it has read without labels.
    """

    config: Config
    trainer: SmsTrainer
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    data: PreparedData
    setup: ComputeSetup
    distilled: Distilled | None
    pretraining: PretrainingFacts | None


def assemble(config: Config) -> Assembled:
    """Load data, tokenizer and model as ``config`` says and put them into a Trainer.

    On a CPU the process keeps the memory it frees from here on.

    Raises:
        UserError: if data, checkpoint or configuration do not fit together.
    """
    hide_loading_bars()
    disable_progress_bars()
    data = _load_data(config)
    config = fit_to_encoder(config)
    pretraining = _pretraining(config)
    setup = pick_setup(config)
    section = config.training
    arguments = training_arguments(
        section, section.output_dir / "checkpoints", setup.device, setup.precision
    )
    train_texts = list(data.splits["train"]["text"])
    # Before the student takes memory, and before the seed is set.
    distilled = distill(config, data.preparation, data.labels, train_texts, setup.precision)
    texts = [*train_texts, *(distilled.unlabelled if distilled else ())]
    set_seed(section.seed)
    tokenizer = _tokenizer(config, texts)
    encoder = build_encoder(tokenizer, config.data.max_length)
    model = _model(config, data.labels, tokenizer, setup.attention)
    mean_layer = remove_mean_layers(model)
    if config.model.keep_layers is not None:
        keep_layers(model, config.model.keep_layers)
    if config.model.trim_vocabulary:
        tokenizer = trim_vocabulary(model, tokenizer, texts)
        encoder = build_encoder(tokenizer, config.data.max_length)
    check_max_length(config.data.max_length, model)
    check_answers(model, encoder)
    use_pooling(model, config.model.pooling, mean_layer)
    if config.model.pooling == "cls" and mean_layer is not None:
        logger.info(
            "%s was trained with mean pooling, which model.pooling=cls removes",
            config.model.name_or_path,
        )
    if config.model.lora is not None:
        model = add_lora(model, tokenizer, **config.model.lora.model_dump())
    else:
        use_first_token_layer(model)
    if setup.device.type == "cpu":
        keep_freed_memory()
        use_byte_dropout(model)
    trainer = _trainer(config, arguments, model, encoder, data, distilled)
    # Not with torch.compile, which fuses the stock layers itself, nor with FSDP, which finds layers
    # by class name.
    compiled = section.torch_compile
    if setup.device.type == "cpu" and not compiled and not trainer.is_fsdp_enabled:
        use_cpu_layers(model)
    return Assembled(
        config, trainer, model, tokenizer, encoder, data, setup, distilled, pretraining
    )


def _load_data(config: Config) -> PreparedData:
    folder = config.data.path
    preparation = load_preparation(folder)
    check_prepared_files(folder, preparation)
    labels = LabelMap.load(folder / "labels.json")
    check_section(config.evaluation, labels)
    splits = {name: load_split(folder, name) for name in SPLITS}
    _check_labels(splits, folder)
    return PreparedData(preparation, labels, splits)


def _check_labels(splits: dict[str, Dataset], folder: Path) -> None:
    train_labels = set(splits["train"]["label"])
    for name in ("validation", "test"):
        unknown = sorted(set(splits[name]["label"]) - train_labels)
        if unknown:
            raise UserError(
                "expected every label of {name} in train, found {unknown} only in "
                "{name} of {folder}: add messages of these labels or remove them, "
                "and prepare again",
                name=name,
                unknown=", ".join(unknown),
                folder=folder,
            )
    if len(train_labels) < 2:
        raise UserError(
            "expected at least two labels in train of {folder}, found {n_train_labels}",
            folder=folder,
            n_train_labels=len(train_labels),
        )


def fit_to_encoder(config: Config) -> Config:
    """Return the configuration with the learning rate as a number, from the encoder's width.

    No weights are loaded. This comes before the tokenizer, whose errors about an architecture are
    less clear.

    Raises:
        UserError: if the encoder cannot be found or is none, or cannot be pooled as configured.
    """
    section = config.model
    if section.from_scratch is not None:
        width: int | None = section.from_scratch.hidden_size
    else:
        encoder = load_encoder_config(section.name_or_path, revision=section.revision)
        if section.pooling == "mean":
            require_mean_pooling(encoder)
        width = getattr(encoder, "hidden_size", None)
    if config.training.learning_rate != "auto":
        return config
    if not isinstance(width, int):
        raise UserError(
            "training.learning_rate: {name_or_path} has no hidden_size from which auto "
            "could follow: set a number",
            name_or_path=section.name_or_path,
        )
    rate = auto_learning_rate(width)
    logger.info("learning rate %g, for an encoder of width %d", rate, width)
    training = config.training.model_copy(update={"learning_rate": rate})
    return config.model_copy(update={"training": training})


def pick_setup(config: Config) -> ComputeSetup:
    """Return where and how a configuration is computed on this machine."""
    device = pick_device(config.training.device)
    precision = pick_precision(device, config.training.precision)
    return ComputeSetup(device, precision, pick_attention(device))


def _pretraining(config: Config) -> PretrainingFacts | None:
    section = config.model
    if section.from_scratch is not None:
        return None
    return load_pretraining(section.name_or_path, revision=section.revision)


def _tokenizer(config: Config, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    section = config.model
    if section.from_scratch is not None:
        if section.lora is not None:
            raise UserError(
                "model.lora: expected a pretrained encoder to adapt, found model.from_scratch: "
                "remove one of them"
            )
        if section.trim_vocabulary:
            raise UserError(
                "model.trim_vocabulary: expected a pretrained encoder, found model.from_scratch, "
                "whose vocabulary is built from the messages: remove one of them"
            )
        return build_tokenizer(texts, section.from_scratch.vocab_size)
    tokenizer = load_tokenizer(section.name_or_path, revision=section.revision)
    if missing := add_missing_characters(tokenizer, texts):
        logger.info("%d characters that the vocabulary lacked are tokens now", len(missing))
    return tokenizer


def _model(
    config: Config, labels: LabelMap, tokenizer: PreTrainedTokenizerBase, attention: Attention
) -> PreTrainedModel:
    section = config.model
    dropouts = {
        "hidden_dropout": section.hidden_dropout,
        "attention_dropout": section.attention_dropout,
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
    )


def check_max_length(max_length: int, model: PreTrainedModel) -> None:
    """Check that the model has a position for each of ``max_length`` tokens.

    Raises:
        UserError: if it has fewer.
    """
    positions = usable_positions(model)
    if positions is not None and max_length > positions:
        raise UserError(
            "data.max_length: expected at most the model's {positions} positions, found "
            "{max_length}: lower it",
            positions=positions,
            max_length=max_length,
        )


def _trainer(
    config: Config,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    encoder: Encoder,
    data: PreparedData,
    distilled: Distilled | None,
) -> SmsTrainer:
    section = config.training
    encode = functools.partial(tokenize_dataset, encoder=encoder, labels=data.labels)
    callbacks: list[TrainerCallback] = [
        EpochOrder(balanced=section.class_balanced_sampling),
        *tracking_callbacks(section.report_to, section.output_dir),
    ]
    train: Dataset | AugmentedRows
    if config.data.augment is not None:
        train = AugmentedRows(
            data.splits["train"], config.data.augment, section.seed, data.preparation.text, encode
        )
        callbacks.insert(0, EpochRows())
    elif distilled is not None:
        train = distilled.rows(data.splits["train"], encode)
    else:
        train = encode(data.splits["train"])
    if section.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(section.early_stopping_patience))
    objective = _objective(config, data, arguments.device)
    trainer = SmsTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=encode(data.splits["validation"]),
        data_collator=PaddingCollator(encoder.padding, arguments.device.type),
        compute_metrics=functools.partial(_compute_metrics, objective.loss, arguments.device),
        callbacks=callbacks,
        objective=objective,
        layerwise_lr_decay=section.layerwise_lr_decay,
    )
    # It prints each log entry as a dict.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _objective(config: Config, data: PreparedData, device: torch.device) -> Objective:
    section, distillation = config.loss, config.distillation
    n_messages = Counter(data.splits["train"]["label"])
    # A label without messages counts as if it had one, so that its prior is not 0.
    counts = np.array([n_messages[name] for name in data.labels.names]).clip(min=1)
    arguments = {key: getattr(section, key) for key in LOSS_KEYS[section.name]}
    if section.name in WITH_COUNTS:
        arguments["counts"] = torch.tensor(counts, device=device, dtype=torch.float32)
    weights = section.class_weights and CLASS_WEIGHTS[section.class_weights](counts)
    return Objective(
        loss=functools.partial(LOSSES[section.name], **arguments),
        class_weights=(
            None if weights is None else torch.tensor(weights, device=device, dtype=torch.float32)
        ),
        reweight_after=section.reweight_after,
        r_drop=section.r_drop,
        fgm=section.fgm,
        teacher_weight=distillation.weight if distillation else 0.0,
        temperature=distillation.temperature if distillation else 1.0,
    )


def _compute_metrics(
    loss: Loss, device: torch.device, prediction: EvalPrediction
) -> dict[str, float]:
    logits, truth = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    # The trainer's own mean loss would include the padding rows of the last batch when several
    # processes run.
    losses = loss(torch.tensor(logits, device=device).float(), torch.tensor(truth, device=device))
    # Before the checkpoint of these weights is written.
    if not torch.isfinite(losses).all():
        raise diverged(Message("during validation"))
    return {**headline(truth, logits.argmax(axis=-1)), "loss": float(losses.mean())}
