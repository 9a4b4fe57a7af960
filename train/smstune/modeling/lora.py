"""LoRA with peft: few weights are trained, and the saved model is a stock one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smstune.errors import UserError, how_to_install
from smstune.modeling.head import head_modules

logger = logging.getLogger(__name__)

#: What architectures call the linear layers of the queries and values; some have one for all three.
_QUERY_AND_VALUE = (
    ("query", "value"),
    ("query_proj", "value_proj"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("Wqkv",),
    ("qkv_proj",),
    ("query_key_value",),
)


def add_lora(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    target_modules: Sequence[str] | None,
) -> PreTrainedModel:
    """Return ``model`` in peft's wrapper, with adapters and its own weights frozen.

    A target's weight W becomes W + alpha / rank * B A, with B and A of ``rank`` (Hu et al., 2021,
    section 4.1). The head, the pooler and the embeddings of the tokens we added are trained in
    full: a pooler is random in most checkpoints (in e5-small-zh, too, although it is stored), and
    all new embeddings start as the same vector, the mean, so frozen ones would be identical.
    Without ``target_modules``, the adapters are on the queries and values of the architecture.

    Raises:
        UserError: if peft is not installed, a name in ``target_modules`` matches no linear layer,
            or there is none and it is not known what the architecture calls queries and values.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError(
            "model.lora needs the package peft: {how_to_install}",
            how_to_install=how_to_install("lora"),
        ) from error
    targets = _targets(model, target_modules)
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
            target_modules=targets,
            modules_to_save=head_modules(model),
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


def _targets(model: PreTrainedModel, names: Sequence[str] | None) -> list[str]:
    """Return the ends of the names of the linear layers to adapt: ``names``, once checked."""
    linear_layers = {
        f".{name}"
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.Linear)
    }

    def is_linear(target: str) -> bool:
        return any(name.endswith(f".{target}") for name in linear_layers)

    last = ", ".join(sorted({name.rpartition(".")[2] for name in linear_layers}))
    if names is None:
        for usual in _QUERY_AND_VALUE:
            if all(map(is_linear, usual)):
                return list(usual)
        raise UserError(
            "model.lora: the linear layers of {model_type} for queries and values have no known "
            "names: set model.lora.target_modules to some of its linear layers ({last})",
            model_type=model.config.model_type,
            last=last,
        )
    if unknown := [target for target in names if not is_linear(target)]:
        raise UserError(
            "model.lora.target_modules: expected names of linear layers, found "
            "{unknown}: this encoder has {last}",
            unknown=", ".join(unknown),
            last=last,
        )
    return list(names)
