"""The one tokenisation: text to token ids by `tokenizers` alone, and the padding of a batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from smstune.arrays import Ints

#: What a model reads: ``input_ids`` and ``attention_mask``, each of shape (messages, tokens).
Batch = dict[str, Ints]


class Padding(BaseModel):
    """The token that fills the shorter messages of a batch, and the side that it is put on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    token_id: int = Field(ge=0)
    side: Literal["left", "right"] = "right"


class Encoder:
    """Turns preprocessed text into the token ids that a model reads.

    A message is cut to ``max_length`` tokens, the special ones included. Text that spells a special
    token (``[SEP]``) is text. Training, evaluation and inference all use this class; it can be
    pickled and used by several threads.
    """

    def __init__(self, tokenizer_json: str, padding: Padding, max_length: int) -> None:
        """Build the tokenizer from the content of a tokenizer.json.

        Raises:
            ValueError: if it is none that `tokenizers` can build.
        """
        self.padding = padding
        self.max_length = max_length
        self._json = tokenizer_json
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json)
        # tokenizers has no error class of its own and raises Exception.
        except Exception as error:
            raise ValueError(" ".join(str(error).split())[:200]) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        # Not stored in tokenizer.json.
        self._tokenizer.encode_special_tokens = True

    def __reduce__(self) -> tuple[type[Encoder], tuple[str, Padding, int]]:
        return Encoder, (self._json, self.padding, self.max_length)

    def __len__(self) -> int:
        """Return the number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, not padded."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of ``encode`` for one text and each token's span of characters.

        Special tokens stand for no characters: (0, 0).
        """
        encoding = self._tokenizer.encode(text)
        return encoding.ids, encoding.offsets

    @cached_property
    def kind(self) -> str:
        """The algorithm that makes the tokens: WordPiece, Unigram, BPE or WordLevel."""
        name: str = json.loads(self._json)["model"]["type"]
        return name

    @cached_property
    def unknown_id(self) -> int | None:
        """The id of the token for unknown text, ``None`` if there is none."""
        model = json.loads(self._json)["model"]
        token_id: int | None = model.get("unk_id")
        if model.get("unk_token") is not None:
            token_id = self._tokenizer.token_to_id(model["unk_token"])
        return token_id

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of special tokens such as ``[CLS]`` that stand for no text, not even unknown."""
        added = self._tokenizer.get_added_tokens_decoder()
        special = (token_id for token_id, token in added.items() if token.special)
        return frozenset(special) - {self.unknown_id}


def pad(rows: Sequence[Sequence[int]], padding: Padding, *, multiple: int = 1) -> Batch:
    """Return rows of token ids as one batch, as long as the longest or the next ``multiple``.

    ``attention_mask`` is 1 where a row has a token and 0 where it is padded.
    """
    length = max(map(len, rows))
    length += -length % multiple
    ids = np.full((len(rows), length), padding.token_id, np.int64)
    mask = np.zeros((len(rows), length), np.int64)
    for row, tokens in enumerate(rows):
        columns = (
            slice(len(tokens)) if padding.side == "right" else slice(length - len(tokens), None)
        )
        ids[row, columns] = tokens
        mask[row, columns] = 1
    return {"input_ids": ids, "attention_mask": mask}
