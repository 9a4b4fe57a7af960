"""LoRA with peft: few weights are trained, and the saved model is a stock one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smstune.errors import UserError, how_to_install

logger = logging.getLogger(__name__)


def add_lora(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    target_modules: Sequence[str],
) -> PreTrainedModel:
    """Return ``model`` in peft's wrapper, with adapters and its own weights frozen.

    A target's weight W becomes W + alpha / rank * B A, with B and A of ``rank`` (Hu et al., 2021,
    section 4.1). The head, the pooler and the embeddings of the tokens we added are trained in
    full: a pooler is random in most checkpoints (in e5-small-zh, too, although it is stored), and
    all new embeddings start as the same vector, the mean, so frozen ones would be identical.

    Raises:
        UserError: if peft is not installed or a name in ``target_modules`` matches no linear layer.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError(
            "model.lora needs the package peft: {how_to_install}",
            how_to_install=how_to_install("lora"),
        ) from error
    _check_targets(model, target_modules)
    embeddings = model.get_input_embeddings()
    added = [row for row, token in tokenizer.added_tokens_decoder.items() if not token.special]
    (rows,) = (name for name, module in model.named_modules() if module is embeddings)
    # At each save peft looks the name up on the hub; if that model has fewer tokens, it stores all
    # embeddings: 30 MB per checkpoint of e5-small-zh instead of 1.2.
    model.name_or_path = ""
    wrapped = get_peft_model(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=list(target_modules),
            modules_to_save=_fresh_modules(model),
            trainable_token_indices={rows: added},
        ),
    )
    n_trained, n_all = wrapped.get_nb_trainable_parameters()
    logger.info("LoRA trains %s of %s weights", f"{n_trained:,}", f"{n_all:,}")
    return cast("PreTrainedModel", wrapped)


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Return the stock model with any adapters merged into its weights."""
    merge: Any = getattr(model, "merge_and_unload", None)
    return model if merge is None else cast("PreTrainedModel", merge())


def _fresh_modules(model: PreTrainedModel) -> list[str]:
    body = model.base_model
    heads = [name for name, module in model.named_children() if module is not body]
    poolers = [name for name, _ in model.named_modules() if name.endswith(".pooler")]
    return [name for name in heads + poolers if list(model.get_submodule(name).parameters())]


def _check_targets(model: PreTrainedModel, target_modules: Sequence[str]) -> None:
    linear_layers = {
        name for name, module in model.base_model.named_modules() if isinstance(module, nn.Linear)
    }
    unknown = [
        target
        for target in target_modules
        if not any(f".{name}".endswith(f".{target}") for name in linear_layers)
    ]
    if unknown:
        last = sorted({name.rpartition(".")[2] for name in linear_layers})
        raise UserError(
            "model.lora.target_modules: expected names of linear layers, found "
            "{unknown}: this encoder has {last}",
            unknown=", ".join(unknown),
            last=", ".join(last),
        )
