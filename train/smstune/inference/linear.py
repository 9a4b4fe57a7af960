"""A linear model of character n-grams: the baseline, and an optional part of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from smstune.arrays import Floats, Ints
from smstune.errors import UserError
from smstune.inference.ngrams import NGramTable, Occurrences, build_table, origins
from smstune.language import Message

#: Its file in a run folder.
LINEAR = "linear.safetensors"
_TENSORS = {"vocabulary", "idf", "weights", "intercepts"}
#: The key of its metadata.
_CAMPAIGNS = "min_campaigns"
#: The score of a label that no training message has: minus infinity times 0 would be no number.
ABSENT = -1e9
#: Messages scored at once: the intermediate arrays fit into a processor's cache.
_BATCH = 384


@dataclass(frozen=True)
class LinearModel:
    """TF-IDF over character 1- to 4-grams and a linear support vector machine for each label.

    ``vocabulary`` has the known n-grams and ``idf`` their inverse document frequencies.
    ``weights`` has shape ``(n-grams, labels)``, ``intercepts`` ``(labels,)``. Messages of at least
    ``min_campaigns`` campaigns contain each n-gram. It is ``None`` in files of earlier versions:
    there it takes two messages.
    """

    vocabulary: tuple[str, ...]
    idf: Floats
    weights: NDArray[np.float32]
    intercepts: Floats
    min_campaigns: int | None = None

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the signed distances of preprocessed texts, shape ``(messages, labels)``.

        A message's scores do not depend on the other messages.
        """
        scores = np.empty((len(texts), len(self.intercepts)))
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            messages, columns, values = self._tf_idf(self._table.occurrences(batch), len(batch))
            bounds = np.searchsorted(messages, np.arange(len(batch) + 1)).tolist()
            # A product for each message: its weights stay in the cache, and its scores do not
            # depend on the batch.
            for row, (first, end) in enumerate(pairwise(bounds), start):
                scores[row] = values[first:end] @ self.weights.take(columns[first:end], axis=0)
        return scores + self.intercepts

    def answers(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the label id of each preprocessed text."""
        answers: NDArray[np.int64] = self.scores(texts).argmax(axis=1)
        return answers

    def character_scores(self, text: str, direction: Floats) -> Floats:
        """Return what each character of ``text`` adds to ``scores @ direction``.

        Shape ``(characters,)``. They add up to ``scores @ direction``, without the intercepts. The
        contribution of an n-gram is divided evenly among the characters of all its occurrences.
        """
        scores = np.zeros(len(text))
        character_of = origins(text)
        occurrences = list(self._table.occurrences([text]))
        _, columns, values = self._tf_idf(occurrences, 1)
        contributions = values * (self.weights[columns] @ direction)
        for ngrams in occurrences:
            # ``columns`` is sorted, since there is one message.
            rows = np.searchsorted(columns, ngrams.columns)
            counts = np.bincount(rows, minlength=len(columns))[rows]
            shares = contributions[rows] / (counts * ngrams.length)
            for offset in range(ngrams.length):
                np.add.at(scores, character_of[ngrams.starts + offset], shares)
        return scores

    @cached_property
    def _table(self) -> NGramTable:
        # A rare n-gram has a high idf.
        return build_table(self.vocabulary, self.idf)

    def _tf_idf(
        self, occurrences: Iterable[Occurrences], n_messages: int
    ) -> tuple[Ints, Ints, Floats]:
        """Return message, n-gram and TF-IDF of each distinct n-gram of each message, in order.

        As scikit-learn's with ``sublinear_tf`` and the norm ``l2``. All of shape ``(pairs,)``.
        """
        pairs = np.concatenate([(ngrams.messages << 32) | ngrams.columns for ngrams in occurrences])
        pairs.sort()
        firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
        counts = np.diff(firsts, append=len(pairs))
        pairs = pairs.take(firsts)
        messages, columns = pairs >> 32, pairs & 0xFFFFFFFF
        values = self.idf.take(columns)
        # Most n-grams occur once, and their logarithm is 0.
        repeated = np.flatnonzero(counts > 1)
        values[repeated] *= 1 + np.log(counts[repeated])
        norms = np.sqrt(np.bincount(messages, values**2, minlength=n_messages))
        return messages, columns, values / norms.take(messages)

    def save(self, path: Path) -> None:
        """Write everything as safetensors: no pickle, which would run code when it is read."""
        vocabulary = json.dumps(self.vocabulary).encode()
        campaigns = None if self.min_campaigns is None else str(self.min_campaigns)
        save_file(
            {
                "vocabulary": np.frombuffer(vocabulary, np.uint8),
                "idf": self.idf,
                "weights": self.weights,
                "intercepts": self.intercepts.astype(np.float32),
            },
            path,
            metadata={_CAMPAIGNS: campaigns} if campaigns else None,
        )

    @classmethod
    def load(cls, path: Path) -> LinearModel:
        """Read what ``save`` wrote.

        Raises:
            UserError: if the file is another or damaged.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                campaigns = (file.metadata() or {}).get(_CAMPAIGNS)
            vocabulary = tuple(json.loads(tensors["vocabulary"].tobytes()))
            # Any other tensor could hold a message.
            if set(tensors) != _TENSORS:
                raise ValueError(
                    Message("it has the tensors {names}", names=", ".join(sorted(tensors)))
                )
            idf = tensors["idf"].astype(np.float64)
            weights = tensors["weights"].astype(np.float32)
            intercepts = tensors["intercepts"].astype(np.float64)
            if weights.shape != (len(vocabulary), len(intercepts)):
                raise ValueError(Message("its weights have the shape {shape}", shape=weights.shape))
            if idf.shape != (len(vocabulary),):
                raise ValueError(Message("its idf has the shape {shape}", shape=idf.shape))
            model = cls(vocabulary, idf, weights, intercepts, campaigns and int(campaigns))
            # Built now, so that an unusable vocabulary is noticed here.
            _ = model._table
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                "{path} is not a linear model: {error}", path=path, error=error
            ) from error
        return model
