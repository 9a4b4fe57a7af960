"""The teacher of a distillation: a run that answers as the student is to, or an error."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from smstune.data.manifest import Preparation
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import Manifest, load_manifest
from smstune.language import Message, joined

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teacher:
    """A run folder and its manifest."""

    path: Path
    manifest: Manifest


def load_teacher(folder: Path, labels: LabelMap, preparation: Preparation) -> Teacher:
    """Return the teacher of a student with these ``labels`` and data of this ``preparation``.

    Warns of a teacher that was trained on other splits.

    Raises:
        UserError: if ``folder`` is no run, or a run of other labels, another order or other parents
            of them, or another preprocessing.
    """
    manifest = load_manifest(folder)
    _check_labels(folder, manifest, labels)
    ours, its = preparation.text, manifest.text
    differences = [
        f"{name}={str(getattr(its, name)).lower()}"
        for name in type(ours).model_fields
        if getattr(ours, name) != getattr(its, name)
    ]
    if differences:
        raise UserError(
            "distillation.teacher: {folder} reads messages preprocessed otherwise than data.path: "
            "it was trained with {differences}: prepare the data so, or choose another teacher",
            folder=folder,
            differences=", ".join(differences),
        )
    if manifest.data.sha256 != preparation.sha256:
        logger.warning(
            "warning: the teacher %s was trained on other data than data.path, perhaps on messages "
            "that are its validation or test split: scores of the student may be too high",
            folder,
        )
    return Teacher(folder, manifest)


def _check_labels(folder: Path, manifest: Manifest, labels: LabelMap) -> None:
    ours, its = list(labels.names), manifest.labels
    differences = [
        *(Message("{name} is missing", name=name) for name in ours if name not in its),
        *(Message("{name} is not in the data", name=name) for name in its if name not in ours),
    ]
    if differences:
        raise UserError(
            "distillation.teacher: expected the labels of data.path, found others in {folder}: "
            "{differences}: choose a teacher of the same labels",
            folder=folder,
            differences=joined(differences, ", "),
        )
    if ours != its:
        raise UserError(
            "distillation.teacher: expected the labels in the order {ours}, found {its} in "
            "{folder}: prepare the data with the teacher's label file",
            ours=", ".join(ours),
            its=", ".join(its),
            folder=folder,
        )
    other_parents = [
        name
        for name, parent, its_parent in zip(ours, labels.parents, manifest.parents, strict=True)
        if parent != its_parent
    ]
    if other_parents:
        raise UserError(
            "distillation.teacher: the parents of {names} in {folder} are not those of data.path: "
            "prepare the data with the teacher's label file",
            names=", ".join(other_parents),
            folder=folder,
        )
