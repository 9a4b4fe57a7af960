"""What a run's manifest says of where the run comes from: its data and its training."""

from __future__ import annotations

from typing import Literal

from smstune.config.choices import Attention, Precision, SplitMethod
from smstune.results import Result

CommercialUse = Literal["allowed", "unclear", "no"]


class Terms(Result):
    """A public set: its title and home page, what its authors allow, and how to cite it."""

    name: str
    title: str
    home: str | None
    licence: str
    commercial_use: CommercialUse
    citation: str


class RowCounts(Result):
    """Counts of rows; ``read`` is the sum of ``kept``, ``merged`` and ``rejected``.

    ``kept`` includes the rows that were ``set_aside`` because they resemble the test set.
    ``splits`` counts the messages of each split by label, ``rejected`` the rows by reason.
    """

    read: int
    kept: int
    merged: int
    rejected: dict[str, int]
    set_aside: int = 0
    groups: int
    splits: dict[str, dict[str, int]]


class SplitFacts(Result):
    """How the messages were split; ``fold`` of ``folds`` only where there are several."""

    method: SplitMethod
    held_out: str | None = None
    fold: int | None = None
    folds: int | None = None
    seed: int
    fractions: tuple[float, ...] = ()


class Contamination(Result):
    """Shares of the test messages with an exact copy in train, and with any copy, near or exact."""

    exact: float
    near: float


class DataFacts(Result):
    """The prepared folder that a run was trained on.

    ``sha256`` is that of each split's file, ``contamination`` is measured for the split itself and
    for a random one, by method. Runs of earlier versions name no sources, terms and counts.
    """

    path: str
    sha256: dict[str, str]
    contamination: dict[SplitMethod, Contamination]
    split: SplitFacts
    sources: list[str] | None = None
    terms: list[Terms] | None = None
    counts: RowCounts | None = None


class DistillationFacts(Result):
    """The teacher of a student, and how it was taught.

    ``teacher`` is the name of the teacher's folder, ``teacher_sha256`` that of its weights;
    ``unlabelled`` counts the messages without labels.
    """

    teacher: str
    teacher_sha256: str
    temperature: float
    weight: float
    unlabelled: int


class TrainingFacts(Result):
    """How a run was trained and how fast; ``seed`` and ``steps`` belong to the weights."""

    device: str
    precision: Precision
    attention: Attention
    seed: int
    wall_seconds: float
    steps: int
    train_loss: float
    messages_per_second: float | None
    best_validation_macro_f1: float | None


class MaskedScores(Result):
    """How well masked tokens of held-out messages are predicted: mean loss in nats, accuracy."""

    loss: float
    accuracy: float


class PretrainingFacts(Result):
    """What an encoder read, without labels, before a run was fine-tuned from it.

    ``messages`` were read, ``held_out`` were measured on; ``set_aside`` nearly copied a protected
    message. ``mask_pii`` says whether all were masked. Scores are by source, ``all`` together, of
    the checkpoint and of the encoder. ``sources``, ``terms`` and ``mask_pii`` count in what a
    checkpoint that was pretrained before had read.
    """

    base_model: dict[str, str | None]
    sources: list[str]
    terms: list[Terms]
    messages: int
    held_out: int
    set_aside: int
    mask_pii: bool
    mlm_probability: float
    seed: int
    steps: int
    before: dict[str, MaskedScores]
    after: dict[str, MaskedScores]
