"""Models: a pretrained encoder with a fresh head, or a small BERT from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.configuration_utils import PreTrainedConfig

from smstune.config.choices import Attention
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.modeling.tokenization import unreachable_message


def load_pretrained_model(
    name_or_path: str,
    labels: LabelMap,
    tokenizer: PreTrainedTokenizerBase,
    *,
    attention: Attention,
    dropouts: Mapping[str, float] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Return the checkpoint as a sequence classifier with a fresh head for ``labels``, in fp32.

    A checkpoint stored in fp16 is widened: training in fp16 weights loses small updates. The
    vocabulary grows to the tokenizer's. ``dropouts`` are configuration keys to override.

    Raises:
        UserError: if the checkpoint cannot be reached or is no encoder.
    """
    place = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name_or_path, **place)
        _adapt(config, labels, dropouts)
        model = AutoModelForSequenceClassification.from_pretrained(
            name_or_path,
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            # A checkpoint that already is a classifier has a head for other labels.
            ignore_mismatched_sizes=True,
            **place,
        )
    except (OSError, ValueError) as error:
        raise UserError(unreachable_message("encoder", name_or_path, error)) from error
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    return model


def build_new_model(
    size: Mapping[str, int],
    labels: LabelMap,
    tokenizer: PreTrainedTokenizerBase,
    *,
    attention: Attention,
    max_length: int,
    dropouts: Mapping[str, float] | None = None,
) -> PreTrainedModel:
    """Return a BERT classifier with random weights; ``size`` names BertConfig's dimensions."""
    config = BertConfig(
        **dict[str, Any](size),
        vocab_size=len(tokenizer),
        max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id,
    )
    _adapt(config, labels, dropouts)
    return AutoModelForSequenceClassification.from_config(
        config, dtype=torch.float32, attn_implementation=attention
    )


def _adapt(
    config: PreTrainedConfig, labels: LabelMap, dropouts: Mapping[str, float] | None
) -> None:
    config.id2label = labels.id2label
    config.label2id = labels.label2id
    for name, value in (dropouts or {}).items():
        setattr(config, name, value)
