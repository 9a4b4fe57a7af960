"""The one tokenisation: text to token ids, and the collator that pads a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class PaddingCollator:
    """Pads to the longest message of a batch, on a GPU to a multiple of 8 tokens.

    Columns that the model does not read, such as ``length``, are left out. A class, because a
    worker process that is spawned receives it pickled.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, device: str) -> None:
        """Take a tokenizer and the type of the device that the batches are for."""
        from transformers import DataCollatorWithPadding

        multiple = 8 if device == "cuda" else None
        self._pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Return tensors of the rows' token ids and mask, and of ``labels`` where they have any."""
        read = ("input_ids", "labels")
        batch: Batch = self._pad(
            [{name: row[name] for name in read if name in row} for row in rows]
        )
        return batch
