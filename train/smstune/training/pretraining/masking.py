"""Which tokens of a message are to be predicted, and what the model reads in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rjieba
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from smstune.arrays import Ints
from smstune.inference.tokenization import Encoder, Padding, pad
from smstune.text.pii.placeholders import PLACEHOLDERS

#: The label of a token that is not to be predicted; torch's and transformers' own.
IGNORED = -100
#: The unit of a token that is never predicted.
_NO_UNIT = -1
#: Of the tokens to predict, 80 % are masked and 10 % replaced by any token (Devlin et al., 2019,
#: BERT, section 3.1); the rest stays.
_MASKED, _RANDOM = 0.8, 0.1


@dataclass(frozen=True)
class Vocabulary:
    """The ids that masking needs: of the mask, of ordinary tokens, of those never predicted."""

    mask_id: int
    ordinary_ids: Ints
    unpredicted_ids: frozenset[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, encoder: Encoder) -> Vocabulary:
        """Return the ids of a tokenizer that has a mask token."""
        id_of_token = tokenizer.get_vocab()
        placeholder_ids = {id_of_token[placeholder] for placeholder in PLACEHOLDERS}
        unknown_ids = set() if encoder.unknown_id is None else {encoder.unknown_id}
        unpredicted_ids = encoder.special_ids | placeholder_ids | unknown_ids
        ordinary_ids = sorted(set(range(len(encoder))) - unpredicted_ids)
        return cls(tokenizer.mask_token_id, np.array(ordinary_ids), unpredicted_ids)


def encode_units(texts: Sequence[str], encoder: Encoder, vocabulary: Vocabulary) -> Dataset:
    """Return a data set of ``input_ids``, ``units`` and ``length``, one row for each text.

    Tokens of one unit are predicted together; special tokens, placeholders and unknown ones, with
    the unit -1, never. Units are words where a tokenizer makes a token of each Chinese character
    (WordPiece), so that a character does not give away its neighbour (Cui et al., 2021, whole-word
    masking); elsewhere they are the tokens.
    """
    columns: dict[str, list[Any]] = {"input_ids": [], "units": [], "length": []}
    for text in texts:
        ids, spans = encoder.encode_with_spans(text)
        units = _words(text, spans) if encoder.kind == "WordPiece" else list(range(len(ids)))
        columns["input_ids"].append(ids)
        columns["units"].append(
            [
                _NO_UNIT if token_id in vocabulary.unpredicted_ids else unit
                for token_id, unit in zip(ids, units, strict=True)
            ]
        )
        columns["length"].append(len(ids))
    return Dataset.from_dict(columns)


def _words(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each token the number of the word in which it begins."""
    ends = np.cumsum([len(word) for word in rjieba.cut(text)])
    starts = [start for start, _ in spans]
    numbers: list[int] = np.searchsorted(ends, starts, side="right").tolist()
    return numbers


def can_predict(rows: Dataset) -> list[int]:
    """Return the numbers of the rows with a token to predict."""
    return [number for number, units in enumerate(rows["units"]) if max(units) > _NO_UNIT]


class MaskedRows(torch.utils.data.Dataset[Any]):
    """Rows of ``encode_units`` as a model reads them: masked anew in each epoch.

    A row has ``input_ids``, ``labels`` (the tokens to predict, elsewhere -100) and ``length``; a
    column is had by its name. What is masked follows from seed, epoch and row alone, so that a
    resumed training masks as an uninterrupted one. At least one unit of a row is predicted.
    """

    def __init__(
        self, rows: Dataset, vocabulary: Vocabulary, probability: float, seed: int
    ) -> None:
        self._rows, self._vocabulary = rows, vocabulary
        self._probability, self._seed = probability, seed
        self._epoch = 0

    def begin(self, epoch: int) -> None:
        """Draw the masks of ``epoch`` from now on."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | str) -> Any:  # noqa: ANN401
        if isinstance(key, str):
            return self._rows[key]
        row = self._rows[key]
        rng = np.random.default_rng([self._seed, self._epoch, key])
        ids, units = np.array(row["input_ids"]), np.array(row["units"])
        predicted = _draw_units(units, self._probability, rng)
        labels = np.where(predicted, ids, IGNORED)
        fate = rng.random(len(ids))
        masked = predicted & (fate < _MASKED)
        replaced = predicted & (fate >= _MASKED) & (fate < _MASKED + _RANDOM)
        ids[masked] = self._vocabulary.mask_id
        ids[replaced] = rng.choice(self._vocabulary.ordinary_ids, int(replaced.sum()))
        return {"input_ids": ids.tolist(), "labels": labels.tolist(), "length": row["length"]}


def _draw_units(units: Ints, probability: float, rng: np.random.Generator) -> Any:  # noqa: ANN401
    """Return flags of the tokens of randomly drawn units: about ``probability`` of the tokens."""
    numbers, sizes = np.unique(units[units > _NO_UNIT], return_counts=True)
    order = rng.permutation(len(numbers))
    # The number that is right on average: the fraction of a token left over is drawn.
    expected = probability * sizes.sum()
    n_predicted = max(1, int(expected + rng.random()))
    before = np.cumsum(sizes[order]) - sizes[order]
    return np.isin(units, numbers[order[before < n_predicted]])


class MaskedCollator:
    """Pads a batch of ``MaskedRows``, on a GPU to a multiple of 8 tokens."""

    def __init__(self, padding: Padding, device: str) -> None:
        """Take the padding, and the type of the device that the batches are for."""
        self._padding = padding
        self._multiple = 8 if device == "cuda" else 1

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return tensors of token ids, mask and labels, each of shape (messages, tokens)."""
        batch = pad([row["input_ids"] for row in rows], self._padding, multiple=self._multiple)
        labels = np.full(batch["input_ids"].shape, IGNORED, np.int64)
        labels[batch["attention_mask"] == 1] = np.concatenate([row["labels"] for row in rows])
        return {
            "input_ids": torch.from_numpy(batch["input_ids"]),
            "attention_mask": torch.from_numpy(batch["attention_mask"]),
            "labels": torch.from_numpy(labels),
        }
