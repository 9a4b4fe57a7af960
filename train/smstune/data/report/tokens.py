"""How long messages are in tokens, and how many tokens the vocabulary lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from smstune.data.report.statistics import Splits, take_rows

#: Texts to token ids, special tokens included, not cut.
Tokenize = Callable[[Sequence[str]], list[list[int]]]

_SAMPLE_ROWS = 20_000


@dataclass(frozen=True)
class UnknownTokens:
    """Share of the tokens that are unknown, and share of the messages that have such a token."""

    of_tokens: float
    of_messages: float


@dataclass(frozen=True)
class TokenLengths:
    """Lengths in tokens of a sample of ``total`` messages, and what ``max_length`` would cut.

    ``unknown`` is ``None`` for a tokenizer without an unknown token.
    """

    lengths: Counter[int]
    total: int
    max_length: int
    unknown: UnknownTokens | None

    @property
    def share_cut(self) -> float:
        """Share of the messages that are longer than ``max_length``."""
        n_cut = sum(count for length, count in self.lengths.items() if length > self.max_length)
        return n_cut / self.lengths.total()


def measure_tokens(
    splits: Splits, tokenize: Tokenize, unknown_id: int | None, max_length: int
) -> TokenLengths:
    """Tokenize a random sample of the messages and measure it."""
    total = sum(split.metadata.num_rows for split in splits.values())
    rows = np.sort(np.random.default_rng(0).permutation(total)[:_SAMPLE_ROWS])
    token_ids = tokenize(take_rows(splits, rows, ["text"])["text"].to_pylist())
    lengths = Counter(map(len, token_ids))
    unknown = None
    if unknown_id is not None:
        counts = np.array([message_ids.count(unknown_id) for message_ids in token_ids])
        n_tokens = sum(length * count for length, count in lengths.items())
        unknown = UnknownTokens(float(counts.sum() / n_tokens), float((counts > 0).mean()))
    return TokenLengths(lengths, total, max_length, unknown)
