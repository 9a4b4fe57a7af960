"""The one tokenisation: text to token ids, and the collator that pads a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    #: What the collator makes: ``input_ids`` and ``attention_mask``, shape (batch, tokens).
    Batch = dict[str, torch.Tensor]


def tokenize(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[list[int]]:
    """Return the token ids of preprocessed ``texts``, each cut to ``max_length``, not padded."""
    if not len(texts):
        return []
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def token_spans(
    text: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ids of ``tokenize`` for one text and the characters of each, from and up to.

    Special tokens stand for no characters: (0, 0).
    """
    encoded = tokenizer(text, truncation=True, max_length=max_length, return_offsets_mapping=True)
    return encoded["input_ids"], encoded["offset_mapping"]


def data_collator(
    tokenizer: PreTrainedTokenizerBase, device: str
) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Return the collator: pads to the longest of a batch, on a GPU to a multiple of 8.

    Columns that the model does not read, such as ``length``, are left out.
    """
    from transformers import DataCollatorWithPadding

    pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if device == "cuda" else None)

    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        return pad(
            [
                {name: row[name] for name in ("input_ids", "labels") if name in row}
                for row in features
            ]
        )

    return collate
