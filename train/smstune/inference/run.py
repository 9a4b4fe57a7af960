"""A run folder, loaded only if its parts belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safetensors import SafetensorError, safe_open

from smstune.config.loading import build_config, load_config
from smstune.config.schema import Config
from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.labels import LabelMap
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import FORMAT_VERSION, WEIGHTS, Manifest, load_manifest, mismatch
from smstune.text.normalize import NORMALIZER_VERSION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.configuration_utils import PreTrainedConfig


def run_config(
    run: Path, manifest: Manifest, section: str, overrides: Sequence[str] = ()
) -> Config:
    """Return a finished run's configuration, but for overrides of keys of ``section``.

    Raises:
        UserError: if an override is of another section.
    """
    for override in overrides:
        if not override.startswith(f"{section}."):
            raise UserError(
                f"expected {section}.KEY=VALUE, found {override!r}: nothing else of a "
                "finished run can be changed"
            )
    path = run / "config.yaml"
    if path.is_file():
        return load_config(path, overrides)
    # A published folder leaves out the configuration of its training.
    return build_config({"data": {"path": manifest.data["path"]}}, overrides, run)


class Artifact(NamedTuple):
    """The parts of a run folder, checked against each other; the weights stay on disk."""

    path: Path
    manifest: Manifest
    labels: LabelMap
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    linear: LinearModel | None = None


def load_artifact(
    path: str | Path, *, manifest: Manifest | None = None, weights: bool = True
) -> Artifact:
    """Read a run folder and check that its parts belong together.

    ``manifest`` is the folder's, if it was read before. Without ``weights`` ``model.safetensors``
    is neither read nor needed.

    Raises:
        UserError: saying which part is missing or does not fit: a file whose hash is not the
            manifest's, another label order, another normaliser, a tokenizer of another size.
    """
    from transformers import AutoConfig, AutoTokenizer

    path = Path(path)
    manifest = manifest or load_manifest(path)
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
