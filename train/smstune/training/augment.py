"""Training rows of which a share is written as evasive spam is, anew in every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smstune.config.schema import AugmentConfig
from smstune.inference.manifest import TextOptions
from smstune.text.evasion import evade


class AugmentedRows(torch.utils.data.Dataset[Any]):
    """The encoded rows of one epoch, in the order of the table; a column by its name."""

    def __init__(
        self,
        table: Dataset,
        section: AugmentConfig,
        seed: int,
        text: TextOptions,
        encode: Callable[[Dataset], Dataset],
    ) -> None:
        self._table, self._section, self._text, self._encode = table, section, text, encode
        self._seeds = np.random.SeedSequence(seed)
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Make the rows of ``epoch``, which follow from it and the seed alone."""
        # Of the pair: seed 42 in epoch 1 is not seed 43 in epoch 0.
        seed = int(self._seeds.generate_state(epoch + 1)[epoch])
        self._rows = self._encode(augment(self._table, self._section, seed, self._text))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | str) -> Any:  # noqa: ANN401
        return self._rows[key]


class EpochRows(TrainerCallback):
    """Make the rows of each epoch; stands before ``EpochOrder``, which asks for their lengths."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Make the rows of the epoch that begins; a resumed one gets the rows it had."""
        kwargs["train_dataloader"].dataset.begin(int(state.epoch or 0))


def augment(table: Dataset, section: AugmentConfig, seed: int, text: TextOptions) -> Dataset:
    """Return ``table`` with a share of its texts written by one of the transforms.

    What was written is preprocessed as a raw message is, so that a row looks as it
    would to ``SmsClassifier``. The same seed gives the same rows.
    """
    rng = np.random.default_rng(seed)
    texts = list(table["text"])
    for row in np.flatnonzero(rng.random(len(texts)) < section.share).tolist():
        name = section.transforms[rng.integers(len(section.transforms))]
        strength = float(rng.uniform(*section.strength))
        texts[row] = text.preprocess(evade(texts[row], name, strength, seed))
    return table.remove_columns("text").add_column("text", texts)
