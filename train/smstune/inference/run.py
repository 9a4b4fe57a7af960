"""A run folder, loaded only if its parts belong together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import (
    CONFIG,
    FORMAT_VERSION,
    HASHED,
    LABELS,
    TOKENIZER,
    WEIGHTS,
    Manifest,
    load_manifest,
    mismatch,
    run_file,
    warn_of_other_tables,
    warn_unchecked,
)
from smstune.inference.tokenization import Encoder, Padding
from smstune.language import Message
from smstune.text.normalize import NORMALIZER_VERSION
from smstune.text.probes import probe_digest, text_versions

#: The files of a run but its exported forms.
_FILES = (*HASHED, LINEAR, *TOKENIZER[1:])


@dataclass(frozen=True)
class Run:
    """The parts of a run folder, checked against each other; the weights stay on disk."""

    path: Path
    manifest: Manifest
    labels: LabelMap
    encoder: Encoder
    linear: LinearModel | None = None


def load_run(path: str | Path, *, manifest: Manifest | None = None, weights: bool = True) -> Run:
    """Read a run folder and check that its parts belong together.

    ``manifest`` is the folder's, if it was read before. Without ``weights`` ``model.safetensors``
    is neither read nor needed.

    Raises:
        UserError: saying which part is missing or does not fit: a file whose hash is not the
            manifest's, another label order, another normaliser, a tokenizer of another size.
    """
    path = Path(path)
    manifest = manifest or load_manifest(path)
    if manifest.checksum is None:
        warn_unchecked(path)
    files = {name: run_file(path, manifest, name) for name in _FILES if weights or name != WEIGHTS}
    check_versions(path, manifest)
    _compare_normalizer(path, manifest)
    labels = LabelMap.load(path / LABELS)
    config = _read_json(path / CONFIG)
    _check_labels(path, manifest, labels, config)
    encoder = _load_encoder(path, manifest)
    n_embeddings = config.get("vocab_size")
    if n_embeddings is not None and len(encoder) > n_embeddings:
        raise mismatch(
            path,
            Message(
                "the tokenizer has {n_tokens} tokens, the model {n_embeddings}",
                n_tokens=len(encoder),
                n_embeddings=n_embeddings,
            ),
        )
    linear = _linear(path, manifest) if files[LINEAR] else None
    if manifest.calibration.linear_weight and linear is None:
        raise mismatch(
            path,
            Message("its calibration weighs {file}, which the manifest does not name", file=LINEAR),
        )
    if manifest.calibration.cascade is not None and linear is None:
        raise mismatch(
            path, Message("its cascade needs {file}, which the manifest does not name", file=LINEAR)
        )
    return Run(path, manifest, labels, encoder, linear)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text("utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError("expected a JSON object in {file}, found none: train again", file=file)
    return values


def _load_encoder(path: Path, manifest: Manifest) -> Encoder:
    file = path / TOKENIZER[0]
    padding = manifest.padding or _padding_of_earlier_run(path)
    try:
        return Encoder(file.read_bytes().decode("utf-8"), padding, manifest.max_length)
    except ValueError as error:
        raise UserError(
            "expected a tokenizer in {file}, found what `tokenizers` cannot read ({error}): "
            "train again",
            file=file,
            error=error,
        ) from error


def _padding_of_earlier_run(path: Path) -> Padding:
    tokenizer, config = (_read_json(path / name) for name in TOKENIZER[:2])
    token = config.get("pad_token")
    content = token["content"] if isinstance(token, dict) else token
    for added in tokenizer.get("added_tokens", []):
        if added["content"] == content:
            return Padding(token_id=added["id"], side=config.get("padding_side", "right"))
    raise UserError(
        "expected a padding token in {file}, found none: train again", file=path / TOKENIZER[1]
    )


def _linear(path: Path, manifest: Manifest) -> LinearModel:
    linear = LinearModel.load(path / LINEAR)
    if linear.weights.shape[1] != len(manifest.labels):
        raise mismatch(
            path,
            Message(
                "{source} has {n_found} labels, not {n_expected}",
                source=LINEAR,
                n_found=linear.weights.shape[1],
                n_expected=len(manifest.labels),
            ),
        )
    return linear


def check_versions(path: Path, manifest: Manifest) -> None:
    """Check that this library reads a run's format and normalises text as it was trained on.

    Raises:
        UserError: if it does not; ``path`` is for the message.
    """
    if manifest.format_version != FORMAT_VERSION:
        raise mismatch(
            path,
            Message(
                "format version {version}, this library reads {format_version}",
                version=manifest.format_version,
                format_version=FORMAT_VERSION,
            ),
        )
    if manifest.text.normalizer_version != NORMALIZER_VERSION:
        raise mismatch(
            path,
            Message(
                "trained under normaliser version {version}, this library has {normalizer_version}",
                version=manifest.text.normalizer_version,
                normalizer_version=NORMALIZER_VERSION,
            ),
        )


def _compare_normalizer(path: Path, manifest: Manifest) -> None:
    """Warn if text is normalised otherwise here than where the run was trained."""
    here = text_versions()
    there = {name: manifest.versions.get(name) for name in here}
    if manifest.probe_digest is None or here == there:
        return
    if probe_digest() != manifest.probe_digest:
        versions = ", ".join(f"{name} {number}" for name, number in there.items())
        warn_of_other_tables(path, versions)


def _check_labels(path: Path, manifest: Manifest, labels: LabelMap, config: dict[str, Any]) -> None:
    """Refuse labels that are not the manifest's, and a calibration of other labels."""
    orders: Iterable[tuple[str, list[str]]] = (
        (LABELS, list(labels.names)),
        (CONFIG, _names_by_id(config.get("id2label") or {})),
    )
    for name, order in orders:
        if order != manifest.labels:
            raise mismatch(
                path,
                Message(
                    "{name} has the labels {order}, the manifest {labels}",
                    name=name,
                    order=order,
                    labels=manifest.labels,
                ),
            )
    if list(labels.parents) != manifest.parents:
        raise mismatch(path, Message("{file} has other parents than the manifest", file=LABELS))
    bias = manifest.calibration.label_bias
    if bias and len(bias) != len(labels.names):
        raise mismatch(
            path,
            Message(
                "{source} has {n_found} labels, not {n_expected}",
                source=Message("the calibration"),
                n_found=len(bias),
                n_expected=len(labels.names),
            ),
        )
    for point in manifest.calibration.operating_points:
        labels.ids_of(point.labels, f"operating point {point.name} of {path}")


def _names_by_id(id2label: dict[str, str]) -> list[str]:
    return [name for _, name in sorted((int(key), name) for key, name in id2label.items())]
