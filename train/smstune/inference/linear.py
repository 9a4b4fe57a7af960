"""A linear model of character n-grams: the baseline, and an optional part of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from smstune.arrays import Floats
from smstune.errors import UserError

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

#: Its file in a run folder.
LINEAR = "linear.safetensors"
#: Characters of the shortest and of the longest n-gram.
_LENGTHS = (1, 4)
_TENSORS = {"vocabulary", "idf", "weights", "intercepts"}
#: The score of a label that no training message has: minus infinity times 0 would be no number.
ABSENT = -1e9


@dataclass(frozen=True)
class LinearModel:
    """TF-IDF over character 1- to 4-grams and a linear support vector machine for each label.

    ``weights`` has shape ``(n-grams, labels)``, ``intercepts`` ``(labels,)``. Only n-grams that two
    training messages share are known to it.
    """

    vectorizer: TfidfVectorizer
    weights: Floats
    intercepts: Floats

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the signed distances of preprocessed texts, shape ``(messages, labels)``."""
        scores: Floats = self.vectorizer.transform(texts) @ self.weights + self.intercepts
        return scores

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
        seen, origins = _as_seen(text)
        starts_by_gram: dict[str, list[int]] = {}
        for length in range(_LENGTHS[0], _LENGTHS[1] + 1):
            for start in range(len(seen) - length + 1):
                starts_by_gram.setdefault(seen[start : start + length], []).append(start)
        row = self.vectorizer.transform([text])
        values = dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        for gram, starts in starts_by_gram.items():
            column = self.vectorizer.vocabulary_.get(gram)
            if column is None:
                continue
            worth = values[column] * (self.weights[column] @ direction)
            for start in starts:
                # Not by +=, which counts an index that comes twice only once.
                reach = origins[start : start + len(gram)]
                np.add.at(scores, reach, worth / (len(starts) * len(gram)))
        return scores

    def save(self, path: Path) -> None:
        """Write everything as safetensors: no pickle, which would run code when it is read."""
        vocabulary = json.dumps(self.vectorizer.get_feature_names_out().tolist()).encode()
        save_file(
            {
                "vocabulary": np.frombuffer(vocabulary, np.uint8),
                "idf": self.vectorizer.idf_,
                "weights": self.weights.astype(np.float32),
                "intercepts": self.intercepts.astype(np.float32),
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> LinearModel:
        """Read what ``save`` wrote.

        Raises:
            UserError: if the file is another or damaged.
        """
        try:
            tensors = load_file(path)
            vocabulary = json.loads(tensors["vocabulary"].tobytes())
            # Anything but n-grams and these tensors could be a message.
            if set(tensors) != _TENSORS or any(len(gram) > _LENGTHS[1] for gram in vocabulary):
                raise ValueError("it has other tensors, or n-grams of more than 4 characters")
            vectorizer = _vectorizer(vocabulary)
            vectorizer.idf_ = tensors["idf"]
            weights, intercepts = (
                tensors[name].astype(float) for name in ("weights", "intercepts")
            )
            if weights.shape != (len(vocabulary), len(intercepts)):
                raise ValueError(f"its weights have the shape {weights.shape}")
            return cls(vectorizer, weights, intercepts)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} is not a linear model: {error}") from error


def fit_linear(texts: Sequence[str], labels: NDArray[np.int64], count: int) -> LinearModel:
    """Fit the linear model to preprocessed ``texts`` of ``count`` labels.

    Raises:
        ValueError: if all are of one label, or no two share a character.
    """
    from sklearn.svm import LinearSVC

    vectorizer = _vectorizer()
    machine = LinearSVC(random_state=0).fit(vectorizer.fit_transform(texts), labels)
    planes, offsets = machine.coef_, machine.intercept_
    if len(planes) == 1:
        planes, offsets = np.concatenate([-planes, planes]), np.concatenate([-offsets, offsets])
    weights, intercepts = np.zeros((planes.shape[1], count)), np.full(count, ABSENT)
    # Rounded as the file has them, and kept in double, since the product would widen all of them
    # for each message.
    weights[:, machine.classes_] = planes.T.astype(np.float32)
    intercepts[machine.classes_] = offsets.astype(np.float32)
    return LinearModel(vectorizer, weights, intercepts)


def _as_seen(text: str) -> tuple[str, list[int]]:
    """Return what the vectoriser cuts n-grams from, and which character of ``text`` each one was.

    TfidfVectorizer lower-cases the text (some characters become two) and collapses white space.
    """
    origins = [index for index, character in enumerate(text) for _ in character.lower()]
    seen: list[tuple[str, int]] = []
    pairs = zip(text.lower(), origins, strict=True)
    for is_space, group in groupby(pairs, lambda pair: pair[0].isspace()):
        characters = list(group)
        seen += [(" ", characters[0][1])] if is_space and len(characters) > 1 else characters
    return "".join(character for character, _ in seen), [origin for _, origin in seen]


def _vectorizer(vocabulary: list[str] | None = None) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer="char",
        ngram_range=_LENGTHS,
        min_df=2,
        sublinear_tf=True,
        vocabulary=vocabulary,
    )
