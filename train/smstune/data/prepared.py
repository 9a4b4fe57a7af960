"""What a prepared folder holds, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.labels import LabelMap
from smstune.text.normalize import NORMALIZER_VERSION

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT_VERSION = 1


def split_file(folder: Path, split: str) -> Path:
    """Return the file of one split of a prepared folder.

    Raises:
        UserError: if there is none.
    """
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise UserError(
            f"expected a prepared folder, found no {path.name} in {folder}: run `smstune prepare` "
            "first, or correct data.path"
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
        raise UserError(f"{path}: expected parquet, found a broken file: prepare again") from error


def load_preparation(folder: Path) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Raises:
        UserError: if there is none, or it was prepared by another normaliser.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"expected a prepared folder, found no manifest.json in {folder}: run `smstune "
            "prepare` first, or correct data.path"
        )
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    version = manifest["text"]["normalizer_version"]
    if version != NORMALIZER_VERSION:
        raise UserError(
            f"expected data of normaliser version {NORMALIZER_VERSION}, found {version} in "
            f"{folder}: prepare again"
        )
    return manifest


def check_prepared_files(folder: Path, preparation: dict[str, Any]) -> None:
    """Compare the files of a prepared folder with the hashes in its manifest, ``preparation``.

    Raises:
        UserError: naming a file that is missing or another.
    """
    for name, expected in preparation["sha256"].items():
        path = folder / name
        if not path.is_file() or file_hash(path) != expected:
            raise UserError(
                f"{path}: expected the file that manifest.json names, found "
                f"{'another' if path.is_file() else 'none'}: prepare again"
            )


def require_prepared(folder: Path, labels: LabelMap | None, how_to_prepare: str) -> None:
    """Check that ``folder`` was prepared, under these ``labels`` where some are given.

    Raises:
        UserError: if not, with the command that prepares it, ``how_to_prepare``.
    """
    if not (folder / "manifest.json").is_file():
        raise UserError(f"no prepared data in {folder}: run {how_to_prepare}")
    prepared = LabelMap.load(folder / "labels.json")
    if labels is not None and prepared != labels:
        raise UserError(
            f"{folder} was prepared with the labels {', '.join(prepared.names)}, which are not "
            f"those of prepare.labels, {', '.join(labels.names)} (or their parents differ): remove "
            f"the folder and run {how_to_prepare}"
        )


def provenance(preparation: dict[str, Any]) -> dict[str, Any]:
    """Return what a model must say of the data in a prepared folder, from that folder's manifest.

    ``sources``, the names of where its messages came from; ``terms``, each public set's once;
    ``counts``.
    """
    # Folders prepared before test sets could be given do not name any.
    every = [*preparation["inputs"], *preparation.get("tests", ())]
    return {
        "sources": sorted({item["source"] for item in every}),
        "terms": list({terms["name"]: terms for terms in preparation["terms"]}.values()),
        "counts": preparation["counts"],
    }
