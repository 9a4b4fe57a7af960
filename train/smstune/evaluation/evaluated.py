"""`EvaluatedSet`: messages, their labels and a run's answers; all scores are computed from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smstune.arrays import Flags, Floats, Ints
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.language import Message
from smstune.progress import Progress

_SPLITS = (Message("train"), Message("validation"), Message("test"))


@dataclass(frozen=True)
class LabelledSet:
    """Preprocessed messages, their label ids and campaigns, and columns to slice by.

    A label id is -1 where a message has no label that the run knows. ``raw`` holds the messages as
    they were sent, where they are at hand.
    """

    name: str
    texts: list[str]
    truth: Ints
    groups: Ints
    columns: dict[str, list[str]]
    raw: list[str] | None = None

    @property
    def campaigns(self) -> int:
        """The number of campaigns."""
        return len(np.unique(self.groups))


@dataclass(frozen=True, kw_only=True)
class EvaluatedSet(LabelledSet):
    """A labelled set with the probabilities of each label, shape (messages, labels), and answers.

    ``answers`` are label ids, by the run's own rule.
    """

    probabilities: Floats
    answers: Ints

    @property
    def confidence(self) -> Floats:
        """The probability of each answer."""
        return np.take_along_axis(self.probabilities, self.answers[:, None], 1)[:, 0]

    @property
    def right(self) -> Flags:
        """Whether each answer is the true label."""
        right: Flags = self.answers == self.truth
        return right

    def score_of(self, label_ids: Sequence[int]) -> Floats:
        """Return each message's summed probability of some labels."""
        summed: Floats = self.probabilities[:, list(label_ids)].sum(axis=1)
        return summed

    def is_of(self, label_ids: Sequence[int]) -> Flags:
        """Return whether each message's true label is one of some labels."""
        return np.isin(self.truth, list(label_ids))

    def where(self, chosen: Flags) -> EvaluatedSet:
        """Return the set of the chosen messages alone."""
        return self.take(np.flatnonzero(chosen).tolist())

    def take(self, rows: Sequence[int]) -> EvaluatedSet:
        """Return the set of the messages in these rows, in this order."""
        numbers = np.array(rows, dtype=np.int64)
        return replace(
            self,
            texts=[self.texts[row] for row in rows],
            truth=self.truth[numbers],
            groups=self.groups[numbers],
            columns={name: [values[row] for row in rows] for name, values in self.columns.items()},
            raw=None if self.raw is None else [self.raw[row] for row in rows],
            probabilities=self.probabilities[numbers],
            answers=self.answers[numbers],
        )


def set_name(name: str) -> str:
    """Return a set's name for people: that of a split can be translated, a file's stays."""
    return Message(name) if name in _SPLITS else name


def with_answers(labelled: LabelledSet, probabilities: Floats, answers: Ints) -> EvaluatedSet:
    """Return a labelled set together with what a run answers to it."""
    return EvaluatedSet(
        name=labelled.name,
        texts=labelled.texts,
        truth=labelled.truth,
        groups=labelled.groups,
        columns=labelled.columns,
        raw=labelled.raw,
        probabilities=probabilities,
        answers=answers,
    )


def evaluate_set(
    classifier: SmsClassifier, labelled: LabelledSet, progress: Progress | None = None
) -> EvaluatedSet:
    """Let a run answer the messages of a set."""
    probabilities = classifier.predict_proba(labelled.texts, preprocessed=True, progress=progress)
    return with_answers(labelled, probabilities, classifier.answers(probabilities))


def load_predictions(path: Path, labels: LabelMap) -> EvaluatedSet:
    """Read ``predictions.parquet`` of an evaluation with these labels."""
    # An extra: other users of this module, such as the server, do without.
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    truth, answers = (
        np.array([labels.label2id[name] for name in table[column].to_pylist()], dtype=np.int64)
        for column in ("label", "predicted")
    )
    return EvaluatedSet(
        name=path.parent.name,
        texts=table["text"].to_pylist(),
        truth=truth,
        groups=table["group"].to_numpy(),
        columns={"source": table["source"].to_pylist()},
        probabilities=np.array(table["scores"].to_pylist()),
        answers=answers,
    )
