"""From a configuration to a Trainer that is ready to predict masked tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import disable_progress_bars
from transformers import PreTrainedTokenizerBase, PrinterCallback, set_seed

from smstune.campaigns.grouping import campaign_groups
from smstune.config.schema import Config, LossConfig, PretrainConfig
from smstune.data.prepare import table_options
from smstune.data.readers.catalogue import Input, check_input, parse_input
from smstune.data.unlabelled import Unlabelled, read_unlabelled
from smstune.errors import UserError
from smstune.inference.backends.torch_devices import hide_loading_bars, keep_freed_memory
from smstune.inference.manifest import TextOptions
from smstune.inference.origin import PretrainingFacts
from smstune.inference.tokenization import Encoder
from smstune.modeling.cpu_layer import use_cpu_layers
from smstune.modeling.dropout import use_byte_dropout
from smstune.modeling.masked_language import MaskedModel, load_masked_model
from smstune.modeling.origin import load_pretraining
from smstune.modeling.pooling import remove_mean_layers
from smstune.modeling.tokenization import add_missing_characters, build_encoder, load_tokenizer
from smstune.training.arguments import training_arguments
from smstune.training.assemble import ComputeSetup, check_max_length, fit_to_encoder, pick_setup
from smstune.training.augment import EpochRows
from smstune.training.epoch_order import EpochOrder
from smstune.training.pretraining.masked_trainer import (
    MaskedTrainer,
    masked_scores,
    message_scores,
)
from smstune.training.pretraining.masking import (
    MaskedCollator,
    MaskedRows,
    Vocabulary,
    can_predict,
    encode_units,
)
from smstune.training.tracking import tracking_callbacks


@dataclass(frozen=True)
class Corpus:
    """Messages to read and messages held out to measure on; ``read`` is what they were made of."""

    training: MaskedRows
    held_out: MaskedRows
    held_out_sources: list[str]
    inputs: list[Input]
    read: Unlabelled


@dataclass(frozen=True)
class AssembledPretraining:
    """A Trainer ready to start, and what it was made of.

    ``config`` has the learning rate as a number; ``earlier`` is what the checkpoint says of an
    earlier pretraining.
    """

    config: Config
    trainer: MaskedTrainer
    masked: MaskedModel
    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus
    setup: ComputeSetup
    earlier: PretrainingFacts | None


def assemble_pretraining(config: Config, section: PretrainConfig) -> AssembledPretraining:
    """Read the messages and load the encoder as ``config`` says; put them into a Trainer.

    Raises:
        UserError: if messages, protected folders, checkpoint or configuration do not fit together.
    """
    hide_loading_bars()
    disable_progress_bars()
    _check_keys(config)
    inputs = [parse_input(text) for text in section.inputs]
    options = table_options(config.prepare, labelled=False)
    for input_ in inputs:
        check_input(input_, options)
    config = fit_to_encoder(config)
    earlier = load_pretraining(config.model.name_or_path, revision=config.model.revision)
    setup = pick_setup(config)
    set_seed(config.training.seed)
    text = TextOptions(
        mask_pii=config.prepare.mask_pii, drop_punctuation=config.prepare.drop_punctuation
    )
    read = read_unlabelled(inputs, options, text, section.protect)
    tokenizer = load_tokenizer(config.model.name_or_path, revision=config.model.revision)
    if tokenizer.mask_token_id is None:
        raise UserError(
            "model.name_or_path: the tokenizer of {name_or_path} has no mask token: choose another "
            "checkpoint",
            name_or_path=config.model.name_or_path,
        )
    add_missing_characters(tokenizer, read.texts)
    encoder = build_encoder(tokenizer, config.data.max_length)
    masked = _masked_model(config, tokenizer, setup)
    check_max_length(config.data.max_length, masked.model)
    corpus = _corpus(section, config.training.seed, inputs, read, (tokenizer, encoder))
    if setup.device.type == "cpu":
        keep_freed_memory()
        use_byte_dropout(masked.model)
    trainer = _trainer(config, masked, encoder, corpus, setup)
    if (
        setup.device.type == "cpu"
        and not config.training.torch_compile
        and not trainer.is_fsdp_enabled
    ):
        use_cpu_layers(masked.model)
    return AssembledPretraining(config, trainer, masked, tokenizer, corpus, setup, earlier)


def _check_keys(config: Config) -> None:
    """Refuse keys that only a fine-tune can follow."""
    model = config.model
    idle = {
        "model.from_scratch": model.from_scratch is not None,
        "model.keep_layers": model.keep_layers is not None,
        "model.trim_vocabulary": model.trim_vocabulary,
        "model.lora": model.lora is not None,
        "loss": config.loss != LossConfig(),
        "distillation": config.distillation is not None,
        "data.augment": config.data.augment is not None,
        "training.class_balanced_sampling": config.training.class_balanced_sampling,
        "training.early_stopping_patience": config.training.early_stopping_patience > 0,
    }
    keys = [key for key, is_set in idle.items() if is_set]
    if keys:
        raise UserError(
            "pretraining does not follow {keys}: remove them, or set them for the fine-tune",
            keys=", ".join(keys),
        )


def _masked_model(
    config: Config, tokenizer: PreTrainedTokenizerBase, setup: ComputeSetup
) -> MaskedModel:
    section = config.model
    dropouts = {
        "hidden_dropout": section.hidden_dropout,
        "attention_dropout": section.attention_dropout,
    }
    masked = load_masked_model(
        section.name_or_path,
        tokenizer,
        attention=setup.attention,
        dropouts={name: rate for name, rate in dropouts.items() if rate is not None},
        revision=section.revision,
    )
    # Of a run that was fine-tuned with mean pooling.
    remove_mean_layers(masked.model)
    return masked


def _corpus(
    section: PretrainConfig,
    seed: int,
    inputs: list[Input],
    read: Unlabelled,
    tokenizer_and_encoder: tuple[PreTrainedTokenizerBase, Encoder],
) -> Corpus:
    """Mask the messages; whole campaigns are held out, so that no copy of one is read."""
    vocabulary = Vocabulary.of(*tokenizer_and_encoder)
    rows = encode_units(read.texts, tokenizer_and_encoder[1], vocabulary)
    usable = np.array(can_predict(rows), dtype=np.int64)
    groups = campaign_groups(read.texts)[usable]
    drawn = np.random.default_rng(seed).permutation(np.unique(groups))
    n_held_out = int(np.ceil(section.held_out * len(drawn)))
    if not 0 < n_held_out < len(drawn):
        raise UserError(
            "expected messages of at least two campaigns with text beside placeholders, found "
            "{n_campaigns}: add other inputs to pretrain.inputs",
            n_campaigns=len(drawn),
        )
    is_held_out = np.isin(groups, drawn[:n_held_out])
    training, held_out = usable[~is_held_out], usable[is_held_out]

    def masked_rows(numbers: Sequence[int]) -> MaskedRows:
        return MaskedRows(rows.select(numbers), vocabulary, section.mlm_probability, seed)

    return Corpus(
        training=masked_rows(training.tolist()),
        held_out=masked_rows(held_out.tolist()),
        held_out_sources=[read.sources[number] for number in held_out],
        inputs=inputs,
        read=read,
    )


def _trainer(
    config: Config, masked: MaskedModel, encoder: Encoder, corpus: Corpus, setup: ComputeSetup
) -> MaskedTrainer:
    section = config.training
    arguments = training_arguments(
        section, section.output_dir / "checkpoints", setup.device, setup.precision, best="loss"
    )
    trainer = MaskedTrainer(
        masked.model,
        args=arguments,
        train_dataset=corpus.training,
        eval_dataset=corpus.held_out,
        data_collator=MaskedCollator(encoder.padding, setup.device.type),
        compute_metrics=functools.partial(masked_scores, corpus.held_out_sources),
        preprocess_logits_for_metrics=message_scores,
        callbacks=[
            EpochRows(),
            EpochOrder(),
            *tracking_callbacks(section.report_to, section.output_dir),
        ],
    )
    # It prints each log entry as a dict.
    trainer.remove_callback(PrinterCallback)
    return trainer
