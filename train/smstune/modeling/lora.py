"""LoRA through peft: few weights are trained, and what is saved at the end is a stock model."""

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
    """Return ``model`` in peft's wrapper, which answers as the model does, its own weights frozen.

    A target's weight W becomes W + alpha / rank * B A, with B and A of ``rank`` (Hu et al., 2021,
    section 4.1). Trained in full are the head, the pooler and the rows of the tokens we added:
    a pooler is random in most checkpoints (in e5-small-zh, too, though stored there), and new rows
    all start as one vector, the mean embedding, so that a frozen model could not tell them apart.

    Raises:
        UserError: if peft is not installed or a name in ``target_modules`` matches no linear layer.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError(
            f"model.lora: expected peft, found none: {how_to_install('lora')}"
        ) from error
    _check_targets(model, target_modules)
    embeddings = model.get_input_embeddings()
    added = [row for row, token in tokenizer.added_tokens_decoder.items() if not token.special]
    (rows,) = (name for name, module in model.named_modules() if module is embeddings)
    # At each save peft asks the hub whether a model of this name had fewer tokens, and if so
    # stores all embeddings: 30 MB a checkpoint of e5-small-zh instead of 1.2.
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
    trained, every = wrapped.get_nb_trainable_parameters()
    logger.info("LoRA trains %s of %s weights", f"{trained:,}", f"{every:,}")
    return cast("PreTrainedModel", wrapped)


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Return the stock model with the adapters added to its weights; one without as it is."""
    merge: Any = getattr(model, "merge_and_unload", None)
    return model if merge is None else cast("PreTrainedModel", merge())


def _fresh_modules(model: PreTrainedModel) -> list[str]:
    body = model.base_model
    heads = [name for name, module in model.named_children() if module is not body]
    poolers = [name for name, _ in model.named_modules() if name.endswith(".pooler")]
    return [name for name in heads + poolers if list(model.get_submodule(name).parameters())]


def _check_targets(model: PreTrainedModel, target_modules: Sequence[str]) -> None:
    there = {
        name for name, module in model.base_model.named_modules() if isinstance(module, nn.Linear)
    }
    unknown = [
        target
        for target in target_modules
        if not any(f".{name}".endswith(f".{target}") for name in there)
    ]
    if unknown:
        last = sorted({name.rpartition(".")[2] for name in there})
        raise UserError(
            f"model.lora.target_modules: expected names of linear layers, found "
            f"{', '.join(unknown)}: this encoder has {', '.join(last)}"
        )
