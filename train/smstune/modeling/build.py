"""Builds models: a pretrained encoder with a new head, or a small BERT with random weights."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_layers import GenericForSequenceClassification

from smstune.config.choices import Attention
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.tokenization import Encoder, pad
from smstune.language import Message
from smstune.modeling.head import (
    classifier_labels,
    log_rows,
    output_layer,
    take_over_rows,
)
from smstune.modeling.tokenization import first_words, load_error

logger = logging.getLogger(__name__)

#: The names that architectures use for our keys of dropout.
_DROPOUTS = {
    "hidden_dropout": ("hidden_dropout_prob", "dropout", "embedding_dropout", "mlp_dropout"),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout"),
    "classifier_dropout": (
        "classifier_dropout",
        "classifier_dropout_prob",
        "seq_classif_dropout",
        "summary_last_dropout",
    ),
}


def load_encoder_config(name_or_path: str, *, revision: str | None = None) -> PreTrainedConfig:
    """Return the configuration of a checkpoint that transformers' own code can load as an encoder.

    Raises:
        UserError: if the checkpoint cannot be reached, needs its own code, or is not an encoder.
    """
    try:
        values, _ = PreTrainedConfig.get_config_dict(name_or_path, revision=revision)
        _check_stock(values, name_or_path)
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            name_or_path, revision=revision, trust_remote_code=False
        )
    except UserError:
        raise
    except Exception as error:
        raise load_error(Message("configuration of an encoder"), name_or_path, error) from error
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING or config.is_encoder_decoder:
        reason = (
            Message("it is an encoder with a decoder")
            if config.is_encoder_decoder
            else Message("transformers has no classifier for it")
        )
        raise UserError(
            "model.name_or_path: expected an encoder such as BERT, found {model_type} in "
            "{name_or_path} ({reason}): choose another checkpoint",
            model_type=config.model_type,
            name_or_path=name_or_path,
            reason=reason,
        )
    # A run needs no code but transformers'.
    config.__dict__.pop("auto_map", None)
    return config


def _check_stock(values: dict[str, Any], name_or_path: str) -> None:
    """Refuse a configuration that needs the checkpoint's own code or that transformers lacks."""
    model_type = values.get("model_type")
    if "auto_map" in values and not _is_in_transformers(values):
        reason = Message("it needs its own code (auto_map in config.json), which is never run")
    elif model_type is None:
        reason = Message("config.json has no model_type: add the architecture, such as bert")
    elif model_type not in CONFIG_MAPPING:
        reason = Message(
            "it does not know the model_type {model_type} of config.json", model_type=model_type
        )
    else:
        return
    raise UserError(
        "model.name_or_path: transformers {version} cannot load {name_or_path}: {reason}",
        version=version("transformers"),
        name_or_path=name_or_path,
        reason=reason,
    )


def _is_in_transformers(values: dict[str, Any]) -> bool:
    """Return whether a checkpoint's own code became a part of transformers, as EuroBERT's did.

    The class of its configuration then has the name of transformers' own class.
    """
    code = values["auto_map"].get("AutoConfig", "")
    model_type = str(values.get("model_type"))
    return (
        model_type in CONFIG_MAPPING
        and code.rpartition(".")[2] == CONFIG_MAPPING[model_type].__name__
    )


def load_pretrained_model(
    name_or_path: str,
    labels: LabelMap,
    tokenizer: PreTrainedTokenizerBase,
    *,
    attention: Attention,
    dropouts: Mapping[str, float] | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """Return the checkpoint as a sequence classifier with a head for ``labels``, in fp32.

    The head is new, except the rows of labels that the checkpoint's own classifier has by the same
    name. A checkpoint stored in fp16 is converted, because fp16 weights lose small updates. The
    embedding table grows to the tokenizer's vocabulary. ``dropouts`` are our keys of dropout and
    their rates.

    Raises:
        UserError: if the checkpoint cannot be reached, is not an encoder, or lacks weights of it.
    """
    config = load_encoder_config(name_or_path, revision=revision)
    own_labels = classifier_labels(config)
    adapt_config(config, dropouts)
    if config.pad_token_id is None or _reads_last_token(config):
        config.pad_token_id = tokenizer.pad_token_id
    if not own_labels:
        _set_labels(config, labels)
    loaded = load_weights(
        AutoModelForSequenceClassification,
        name_or_path,
        config,
        attention=attention,
        revision=revision,
    )
    model = loaded.model
    if loaded.unused:
        logger.debug("%d weights of the checkpoint are not used", len(loaded.unused))
    has_own_head = f"{output_layer(model)[0]}.weight" not in loaded.absent
    if own_labels or has_own_head:
        # A head without names of its labels says nothing about ours, whatever its size.
        take_over_rows(model, own_labels if has_own_head else (), labels)
        _set_labels(model.config, labels)
    if own_labels and has_own_head:
        log_rows(name_or_path, own_labels, labels)
    grow_embeddings(model, tokenizer)
    return model


@dataclass(frozen=True)
class LoadedWeights:
    """A checkpoint in a model of some kind.

    ``absent`` names the model's weights that the checkpoint lacks or has in another shape,
    ``unused`` the checkpoint's weights that the model has no place for.
    """

    model: PreTrainedModel
    absent: frozenset[str]
    unused: Sequence[str]


def load_weights(
    auto_class: Any,  # noqa: ANN401
    name_or_path: str,
    config: PreTrainedConfig,
    *,
    attention: Attention,
    revision: str | None,
) -> LoadedWeights:
    """Load a checkpoint into the model that one of transformers' auto classes makes, in fp32.

    Raises:
        UserError: if it cannot be loaded, or lacks weights of the encoder.
    """
    try:
        model, keys = auto_class.from_pretrained(
            name_or_path,
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            # A head that is not of the size that config.json says is not taken over.
            ignore_mismatched_sizes=True,
            revision=revision,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise load_error(Message("encoder"), name_or_path, error) from error
    absent = frozenset((*keys["missing_keys"], *(name for name, *_ in keys["mismatched_keys"])))
    _check_weights(model, absent, name_or_path)
    return LoadedWeights(model, absent, list(keys["unexpected_keys"]))


def grow_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give ``model`` an embedding for each token that was added to its tokenizer."""
    table: Any = model.get_input_embeddings()
    if len(tokenizer) > table.num_embeddings:
        model.resize_token_embeddings(len(tokenizer))


def _reads_last_token(config: PreTrainedConfig) -> bool:
    """Return whether the classifier is a decoder's, which reads the last token but padding."""
    model_class: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    return issubclass(model_class, GenericForSequenceClassification)


def _check_weights(model: PreTrainedModel, absent: Collection[str], name_or_path: str) -> None:
    """Refuse an encoder with missing weights; head and pooler may be new."""
    expected = [name for name in model.state_dict() if _is_of_encoder(name, model)]
    missing = [name for name in expected if name in absent]
    if missing:
        raise UserError(
            "model.name_or_path: expected every weight of the encoder {model_type} in "
            "{name_or_path}, found {n_missing} of {n_expected} missing or of another shape, such "
            "as {example}: its config.json does not belong to its weights",
            model_type=model.config.model_type,
            name_or_path=name_or_path,
            n_missing=len(missing),
            n_expected=len(expected),
            example=missing[0],
        )


def _is_of_encoder(name: str, model: PreTrainedModel) -> bool:
    return name.startswith(f"{model.base_model_prefix}.") and "pooler" not in name.split(".")


def usable_positions(model: PreTrainedModel) -> int | None:
    """Return the most tokens that a message may have, ``None`` if the model has no limit."""
    positions: int = getattr(model.config, "max_position_embeddings", None) or -1
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        # RoBERTa and its relatives number positions from the padding index on.
        if isinstance(table, nn.Embedding) and table.padding_idx is not None:
            positions = table.num_embeddings - table.padding_idx - 1
    # XLNet has relative positions and gives -1.
    return positions if positions > 0 else None


@torch.no_grad()
def check_answers(model: PreTrainedModel, encoder: Encoder) -> None:
    """Check that the model answers a short message and one of the encoder's greatest length.

    Raises:
        UserError: if it fails, or does not return a finite logit for each label.
    """
    training = model.training
    try:
        batch = pad(encoder.encode(["测" * encoder.max_length, "测"]), encoder.padding)
        inputs = {name: torch.from_numpy(values) for name, values in batch.items()}
        logits = model.eval()(**inputs).logits
        if logits.shape != (2, model.config.num_labels) or not logits.isfinite().all():
            raise ValueError(
                Message(
                    "logits of shape {shape}, or NaN or infinity in them",
                    shape=tuple(logits.shape),
                )
            )
    # Architectures fail with any type of error.
    except Exception as error:
        raise UserError(
            "model.name_or_path: {model_type} fails on a message of {max_length} tokens ({cause}): "
            "choose another checkpoint or lower data.max_length",
            model_type=model.config.model_type,
            max_length=encoder.max_length,
            cause=first_words(error),
        ) from error
    model.train(training)


def build_new_model(
    size: Mapping[str, int],
    labels: LabelMap,
    tokenizer: PreTrainedTokenizerBase,
    *,
    attention: Attention,
    max_length: int,
    dropouts: Mapping[str, float] | None = None,
) -> PreTrainedModel:
    """Return a BERT classifier with random weights.

    ``size`` names BertConfig's dimensions; ``dropouts`` are our keys of dropout and their rates.
    """
    config = BertConfig(
        **dict[str, Any](size),
        vocab_size=len(tokenizer),
        max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id,
    )
    _set_labels(config, labels)
    adapt_config(config, dropouts)
    return AutoModelForSequenceClassification.from_config(
        config, dtype=torch.float32, attn_implementation=attention
    )


def _set_labels(config: PreTrainedConfig, labels: LabelMap) -> None:
    config.id2label = labels.id2label
    config.label2id = labels.label2id


def adapt_config(config: PreTrainedConfig, dropouts: Mapping[str, float] | None) -> None:
    """Set ``dropouts``, our keys and their rates, and let the model return its logits alone."""
    # A checkpoint may ask for more outputs or for a tuple.
    config.output_hidden_states = False
    config.output_attentions = False
    config.return_dict = True
    # A decoder would keep the keys and values of each message.
    config.use_cache = False
    for key, rate in (dropouts or {}).items():
        names = [name for name in _DROPOUTS[key] if hasattr(config, name)]
        for name in names:
            setattr(config, name, rate)
        if not names:
            logger.warning("warning: model.%s has no effect on %s", key, config.model_type)
