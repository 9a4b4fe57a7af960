"""Reads a prepared folder: its manifest and its splits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from smstune.config.wording import explain
from smstune.data.manifest import MANIFEST, Preparation, Provenance
from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.label_names import list_names
from smstune.inference.labels import LabelMap
from smstune.text.normalize import NORMALIZER_VERSION

if TYPE_CHECKING:
    from datasets import Dataset


def split_file(folder: Path, split: str) -> Path:
    """Return the file of one split of a prepared folder.

    Raises:
        UserError: if there is none.
    """
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise UserError(
            "expected a prepared folder, found no {name} in {folder}: run `smstune prepare` "
            "first, or correct data.path",
            name=path.name,
            folder=folder,
        )
    return path


def load_split(folder: Path, split: str) -> Dataset:
    """Return one split of a prepared folder.

    Raises:
        UserError: if the folder was not prepared or its file is broken.
    """
    from datasets import Dataset

    path = split_file(folder, split)
    try:
        return Dataset(pq.read_table(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            "{path}: expected parquet, found a broken file: prepare again", path=path
        ) from error


def load_preparation(folder: Path) -> Preparation:
    """Return the manifest of a prepared folder.

    Raises:
        UserError: if there is none, it is broken, or another normaliser prepared the folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            "expected a prepared folder, found no {manifest} in {folder}: run `smstune "
            "prepare` first, or correct data.path",
            manifest=MANIFEST,
            folder=folder,
        )
    try:
        preparation = Preparation.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        raise UserError(
            "{path}: {problems}: prepare again", path=path, problems=explain(error, Preparation)
        ) from error
    version = preparation.text.normalizer_version
    if version != NORMALIZER_VERSION:
        raise UserError(
            "expected data of normaliser version {normalizer_version}, found {version} in "
            "{folder}: prepare again",
            normalizer_version=NORMALIZER_VERSION,
            version=version,
            folder=folder,
        )
    return preparation


def check_prepared_files(folder: Path, preparation: Preparation) -> None:
    """Compare the files of a prepared folder with the hashes in its manifest, ``preparation``.

    Raises:
        UserError: naming a file that is missing or has another content.
    """
    for name, expected in preparation.sha256.items():
        path = folder / name
        if not path.is_file():
            raise UserError(
                "{path}: expected the file that {manifest} names, found none: prepare again",
                path=path,
                manifest=MANIFEST,
            )
        if file_hash(path) != expected:
            raise UserError(
                "{path}: expected the file that {manifest} names, found another: prepare again",
                path=path,
                manifest=MANIFEST,
            )


def require_prepared(folder: Path, labels: LabelMap | None, how_to_prepare: str) -> None:
    """Check that ``folder`` was prepared, and with these ``labels`` unless they are ``None``.

    Labels that were dropped for want of messages may be absent; titles may differ.

    Raises:
        UserError: if not, with the command that prepares it, ``how_to_prepare``.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(
            "no prepared data in {folder}: run {how_to_prepare}",
            folder=folder,
            how_to_prepare=how_to_prepare,
        )
    prepared = LabelMap.load(folder / "labels.json")
    dropped = load_preparation(folder).dropped_labels
    if labels is not None and prepared != labels.without(dropped):
        raise UserError(
            "{folder} was prepared with the labels {prepared_labels}, which are not those of "
            "prepare.labels, {labels} (or their parents differ): remove the folder and run "
            "{how_to_prepare}",
            folder=folder,
            prepared_labels=list_names(prepared.names),
            labels=list_names(labels.names),
            how_to_prepare=how_to_prepare,
        )


def provenance(preparation: Preparation) -> Provenance:
    """Return what a model must say of the data in a prepared folder, from that folder's manifest.

    A public set's terms are stated once, however many of its files were read.
    """
    inputs = [*preparation.inputs, *preparation.tests]
    return Provenance(
        sources=sorted({input_.source for input_ in inputs}),
        terms=list({terms.name: terms for terms in preparation.terms}.values()),
        counts=preparation.counts,
    )
