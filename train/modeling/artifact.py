"""The run folder: written whole, loaded only if its parts belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.configuration_utils import PreTrainedConfig

from train.command import UserError, file_written_whole, folder_written_whole
from train.data.checksum import file_hash
from train.data.labels import LabelMap
from train.data.text import NORMALIZER_VERSION
from train.modeling.decision import Calibration
from train.modeling.linear import LINEAR, LinearModel

FORMAT_VERSION = 1
#: Files whose hash the manifest holds and loading checks.
WEIGHTS = "model.safetensors"
HASHED = ("config.json", WEIGHTS, "tokenizer.json", "labels.json")


class TextOptions(BaseModel):
    """How a message is preprocessed before it is tokenised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalizer_version: int = NORMALIZER_VERSION
    mask_pii: bool = True


class Manifest(BaseModel):
    """What a run is made of; ``manifest.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    labels: list[str]
    parents: list[str | None]
    text: TextOptions
    max_length: int
    calibration: Calibration = Calibration()
    data: dict[str, Any]
    base_model: dict[str, str | None]
    training: dict[str, Any]
    versions: dict[str, str]
    sha256: dict[str, str] = {}


class Artifact(NamedTuple):
    """The parts of a run folder, checked against each other; the weights stay on disk."""

    path: Path
    manifest: Manifest
    labels: LabelMap
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    linear: LinearModel | None = None


def save_artifact(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: LabelMap,
    manifest: Manifest,
    config_yaml: str,
    weights: dict[str, torch.Tensor] | None = None,
    linear: LinearModel | None = None,
) -> None:
    """Write the model's files into the run folder, the manifest last.

    A folder without a manifest is an unfinished run: a crash at any moment leaves either the
    unfinished run or the whole one. ``weights`` are the model's, where it holds a shard of them;
    ``linear`` is joined to it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with folder_written_whole(path / ".artifact") as scratch:
        model.save_pretrained(scratch, state_dict=weights)
        tokenizer.save_pretrained(scratch)
        labels.save(scratch / "labels.json")
        (scratch / "config.yaml").write_text(config_yaml, "utf-8")
        hashed: tuple[str, ...] = HASHED
        if linear is not None:
            linear.save(scratch / LINEAR)
            hashed = (*HASHED, LINEAR)
        hashes = {name: file_hash(scratch / name) for name in hashed}
        whole = manifest.model_copy(update={"sha256": hashes})
        (scratch / "manifest.json").write_text(whole.model_dump_json(indent=2) + "\n", "utf-8")
    names = sorted(os.listdir(path / ".artifact"), key=lambda name: name == "manifest.json")
    for name in names:
        (path / ".artifact" / name).replace(path / name)
    (path / ".artifact").rmdir()


def store_calibration(path: Path, calibration: Calibration) -> Manifest:
    """Put another calibration into a run folder's manifest, whole or not at all, and return it."""
    manifest = load_manifest(path).model_copy(update={"calibration": calibration})
    with file_written_whole(path / "manifest.json") as scratch:
        scratch.write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
    return manifest


def load_artifact(path: str | Path, *, weights: bool = True) -> Artifact:
    """Read a run folder and check that its parts belong together.

    Without ``weights`` ``model.safetensors`` is neither read nor needed.

    Raises:
        UserError: saying which part is missing or does not fit: a file whose hash is not the
            manifest's, another label order, another normaliser, a tokenizer of another size.
    """
    path = Path(path)
    manifest = load_manifest(path)
    _check_files(path, manifest, weights=weights)
    labels = LabelMap.load(path / "labels.json")
    config = AutoConfig.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    _check_versions(path, manifest)
    _check_labels(path, manifest, labels, config)
    bias = manifest.calibration.label_bias
    if bias and len(bias) != len(labels.names):
        raise mismatch(path, f"the calibration has {len(bias)} labels, not {len(labels.names)}")
    rows = _embedding_rows(path / WEIGHTS) if weights else config.vocab_size
    if len(tokenizer) > rows:
        raise mismatch(path, f"the tokenizer has {len(tokenizer)} tokens, the weights {rows}")
    return Artifact(path, manifest, labels, config, tokenizer, _linear(path, manifest))


def load_manifest(path: Path) -> Manifest:
    """Read ``manifest.json`` of a run folder.

    Raises:
        UserError: if the folder holds no finished run.
    """
    file = path / "manifest.json"
    if not file.is_file():
        unfinished = (path / "checkpoints").is_dir()
        raise UserError(
            f"expected a run folder that scripts/finetune.py left, found no manifest.json in {path}"
            + (
                ": the run is unfinished, go on with training.resume_from_checkpoint=true"
                if unfinished
                else ": check the path"
            )
        )
    try:
        return Manifest.model_validate_json(file.read_text("utf-8"))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise UserError(f"{file}: expected format {FORMAT_VERSION}, found {problems}") from error


def _linear(path: Path, manifest: Manifest) -> LinearModel | None:
    if LINEAR not in manifest.sha256:
        return None
    linear = LinearModel.load(path / LINEAR)
    if linear.weights.shape[1] != len(manifest.labels):
        raise mismatch(
            path, f"{LINEAR} has {linear.weights.shape[1]} labels, not {len(manifest.labels)}"
        )
    return linear


def _check_files(path: Path, manifest: Manifest, *, weights: bool) -> None:
    for name, expected in manifest.sha256.items():
        if name == WEIGHTS and not weights:
            continue
        if not (path / name).is_file():
            raise UserError(f"expected {name} in the run folder {path}, found none: copy it whole")
        if file_hash(path / name) != expected:
            raise mismatch(path, f"{name} is not the file that the manifest names")


def _check_versions(path: Path, manifest: Manifest) -> None:
    if manifest.format_version != FORMAT_VERSION:
        raise mismatch(
            path, f"format version {manifest.format_version}, this library reads {FORMAT_VERSION}"
        )
    if manifest.text.normalizer_version != NORMALIZER_VERSION:
        raise mismatch(
            path,
            f"trained under normaliser version {manifest.text.normalizer_version}, this library "
            f"has {NORMALIZER_VERSION}",
        )


def _check_labels(
    path: Path, manifest: Manifest, labels: LabelMap, config: PreTrainedConfig
) -> None:
    orders: Iterable[tuple[str, list[str]]] = (
        ("labels.json", list(labels.names)),
        ("config.json", [name for _, name in sorted((config.id2label or {}).items())]),
    )
    for name, order in orders:
        if order != manifest.labels:
            raise mismatch(path, f"{name} has the labels {order}, the manifest {manifest.labels}")


def _embedding_rows(weights: Path) -> int:
    try:
        with safe_open(weights, framework="numpy") as tensors:
            names = [name for name in tensors.keys() if "word_embeddings" in name]  # noqa: SIM118
            names = names or list(tensors.keys())[:1]
            return int(tensors.get_slice(names[0]).get_shape()[0])
    except (SafetensorError, IndexError) as error:
        raise UserError(f"{weights}: expected whole safetensors: {error}") from error


def mismatch(path: Path, reason: str) -> UserError:
    """Return the error of a run folder whose parts are not of one run."""
    return UserError(
        f"the parts of {path} do not belong together: {reason}: "
        "restore the folder as it was published or train again"
    )
