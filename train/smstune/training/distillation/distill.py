"""A student's additional training data: its teacher's answers, and unlabelled messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from smstune.config.choices import Precision
from smstune.config.schema import Config, DistillationConfig
from smstune.data.manifest import Preparation, Provenance
from smstune.data.prepare import table_options
from smstune.data.prepared import provenance
from smstune.data.public.registry import terms_of
from smstune.data.readers.catalogue import parse_input
from smstune.data.unlabelled import read_unlabelled
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import WEIGHTS
from smstune.inference.origin import DistillationFacts
from smstune.modeling.tokenization import TEACHER_LOGITS
from smstune.training.distillation.answers import compute_answers, kept_answers
from smstune.training.distillation.teacher import Teacher, load_teacher


@dataclass(frozen=True)
class Distilled:
    """The teacher's answers to the training messages and then to the ``unlabelled`` ones.

    ``logits`` has the shape ``(messages, labels)``. ``provenance`` is that of all messages that the
    student learns from, those of its teacher among them.
    """

    unlabelled: list[str]
    logits: NDArray[np.float32]
    facts: DistillationFacts
    provenance: Provenance

    def rows(self, train: Dataset, encode: Callable[[Dataset], Dataset]) -> Dataset:
        """Return the encoded rows of ``train`` and of the unlabelled messages, with the logits."""
        rows = [encode(train)]
        if self.unlabelled:
            labels = [None] * len(self.unlabelled)
            rows.append(encode(Dataset.from_dict({"text": self.unlabelled, "label": labels})))
        column = pa.FixedSizeListArray.from_arrays(self.logits.ravel(), self.logits.shape[1])
        return concatenate_datasets(rows).add_column(TEACHER_LOGITS, column)


def distill(
    config: Config,
    preparation: Preparation,
    labels: LabelMap,
    train_texts: Sequence[str],
    precision: Precision,
) -> Distilled | None:
    """Return what the teacher of ``config`` answers, ``None`` if there is no teacher.

    Of several processes, which must all call this, the first asks the teacher and sends what it
    answers to the others.

    Raises:
        UserError: if the teacher does not fit the student, or an input cannot be read.
    """
    section = config.distillation
    if section is None:
        return None
    distilled: Distilled | None = None
    if PartialState().is_main_process:
        teacher = load_teacher(section.teacher, labels, preparation)
        unlabelled, sources = _unlabelled(config, section, preparation, train_texts)
        texts = [*train_texts, *unlabelled]
        run = config.training.output_dir
        logits = kept_answers(run, teacher, texts)
        if logits is None:
            logits = compute_answers(run, teacher, texts, config.training.device, precision)
        distilled = Distilled(
            unlabelled,
            logits,
            _facts(section, teacher, len(unlabelled)),
            _all_provenance(preparation, teacher, sources),
        )
    received: list[Distilled | None] = broadcast_object_list([distilled])
    return received[0]


def _unlabelled(
    config: Config, section: DistillationConfig, preparation: Preparation, train: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the unlabelled messages that are no training messages, and their sources."""
    if not section.unlabelled:
        return [], []
    inputs = [parse_input(text, config.prepare.source) for text in section.unlabelled]
    options = table_options(config.prepare, labelled=False)
    unlabelled = read_unlabelled(inputs, options, preparation.text, [config.data.path])
    train_texts = set(train)
    texts = [text for text in unlabelled.texts if text not in train_texts]
    if not texts:
        raise UserError(
            "distillation.unlabelled: every message is one of the training messages: add other "
            "inputs, or remove it"
        )
    return texts, [input_.source for input_ in inputs]


def _facts(section: DistillationConfig, teacher: Teacher, n_unlabelled: int) -> DistillationFacts:
    return DistillationFacts(
        teacher=teacher.path.resolve().name,
        teacher_sha256=teacher.manifest.sha256[WEIGHTS],
        temperature=section.temperature,
        weight=section.weight,
        unlabelled=n_unlabelled,
    )


def _all_provenance(
    preparation: Preparation, teacher: Teacher, unlabelled_sources: Sequence[str]
) -> Provenance:
    own, taught = provenance(preparation), teacher.manifest.data
    read = teacher.manifest.pretraining
    terms = [
        *own.terms,
        *(taught.terms or ()),
        *(read.terms if read else ()),
        *terms_of(unlabelled_sources),
    ]
    # A teacher of an earlier version names no sources: its folder of data stands for them.
    taught_sources = [Path(taught.path).name] if taught.sources is None else taught.sources
    read_sources = read.sources if read else ()
    return Provenance(
        sources=sorted({*own.sources, *taught_sources, *read_sources, *unlabelled_sources}),
        terms=list({set_terms.name: set_terms for set_terms in terms}.values()),
        counts=own.counts,
    )
