"""The teacher's answers: computed once, kept in the run folder, read again by a resume."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from smstune.config.choices import DeviceChoice, Precision
from smstune.errors import UserError
from smstune.files import file_written_whole, json_digest
from smstune.inference.classifier import SmsClassifier
from smstune.inference.linear import LINEAR
from smstune.inference.manifest import HASHED, TOKENIZER
from smstune.language import Message
from smstune.progress import Progress
from smstune.training.distillation.teacher import Teacher

#: The file in a run folder.
TEACHER_ANSWERS = "teacher_answers.safetensors"
_LOGITS = "logits"

logger = logging.getLogger(__name__)


def kept_answers(run: Path, teacher: Teacher, texts: Sequence[str]) -> NDArray[np.float32] | None:
    """Return the logits that an earlier start of ``run`` kept, ``None`` if there are none.

    Shape ``(messages, labels)``, in the order of ``texts``.

    Raises:
        UserError: if the file is damaged, or has answers of another teacher or to other messages.
    """
    file = run / TEACHER_ANSWERS
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as tensors:
            digests = tensors.metadata() or {}
            logits: NDArray[np.float32] = tensors.get_tensor(_LOGITS)
    except SafetensorError as error:
        raise UserError(
            "{file} is damaged ({error}): delete it, and the teacher answers again",
            file=file,
            error=error,
        ) from error
    expected = _digests(teacher, texts)
    if digests.get("teacher") != expected["teacher"]:
        raise UserError(
            "{file} has the answers of another teacher than {teacher}: name the teacher that this "
            "run began with, or choose another training.output_dir",
            file=file,
            teacher=teacher.path,
        )
    if digests.get("texts") != expected["texts"]:
        raise UserError(
            "{file} has answers to other messages than those of data.path and "
            "distillation.unlabelled: name the messages that this run began with, or choose "
            "another training.output_dir",
            file=file,
        )
    logger.info("the teacher's answers are those in %s", file)
    return logits


def compute_answers(
    run: Path, teacher: Teacher, texts: Sequence[str], device: DeviceChoice, precision: Precision
) -> NDArray[np.float32]:
    """Let the teacher answer preprocessed ``texts``, keep its logits in ``run`` and return them.

    Encoder and linear model together, before calibration; shape ``(messages, labels)``. The
    teacher's memory is free again afterwards.

    Raises:
        UserError: if the teacher's folder is damaged or its answers are not finite.
    """
    classifier = SmsClassifier.from_run(
        teacher.path, teacher.manifest, backend="torch", device=device, precision=precision
    )
    with Progress(Message("asking the teacher"), len(texts)) as progress:
        logits = classifier.joined_logits(texts, progress).astype(np.float32)
    with file_written_whole(run / TEACHER_ANSWERS) as scratch:
        save_file({_LOGITS: logits}, scratch, metadata=_digests(teacher, texts))
    return logits


def _digests(teacher: Teacher, texts: Sequence[str]) -> dict[str, str]:
    """Return digests of all that the logits follow from."""
    manifest = teacher.manifest
    names = (*HASHED, *TOKENIZER, LINEAR)
    origin = {
        "sha256": {name: manifest.sha256[name] for name in names if name in manifest.sha256},
        "linear_weight": manifest.calibration.linear_weight,
        "max_length": manifest.max_length,
    }
    return {"teacher": json_digest(origin), "texts": json_digest(list(texts))}
