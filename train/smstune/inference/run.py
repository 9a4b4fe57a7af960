"""A run folder, loaded only if its parts belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

from smstune.config.loading import build_config, load_config
from smstune.config.schema import Config
from smstune.errors import UserError
from smstune.files import temporary_folder
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
    warn_unchecked,
)
from smstune.text.normalize import NORMALIZER_VERSION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.configuration_utils import PreTrainedConfig

#: The files of a run but its exported forms.
_FILES = (*HASHED, LINEAR, *TOKENIZER[1:])


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
    return build_config({"data": {"path": manifest.data.path}}, overrides, run)


@dataclass(frozen=True)
class Run:
    """The parts of a run folder, checked against each other; the weights stay on disk."""

    path: Path
    manifest: Manifest
    labels: LabelMap
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
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
    _check_versions(path, manifest)
    labels = LabelMap.load(path / LABELS)
    config, tokenizer = _read_by_transformers(path, files)
    _check_labels(path, manifest, labels, config)
    n_embeddings = config.get_text_config().vocab_size
    if len(tokenizer) > n_embeddings:
        raise mismatch(path, f"the tokenizer has {len(tokenizer)} tokens, the model {n_embeddings}")
    linear = _linear(path, manifest) if files[LINEAR] else None
    if manifest.calibration.linear_weight and linear is None:
        raise mismatch(path, f"its calibration weighs {LINEAR}, which the manifest does not name")
    return Run(path, manifest, labels, config, tokenizer, linear)


def _read_by_transformers(
    path: Path, files: Mapping[str, Path | None]
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Read configuration and tokenizer of a run from a folder that holds nothing else.

    Of a folder transformers reads whatever it knows by name: an adapter, a chat template, code.
    """
    from transformers import AutoConfig, AutoTokenizer

    with temporary_folder() as scratch:
        for name in (CONFIG, *TOKENIZER):
            if (file := files[name]) is not None:
                copyfile(file, scratch / name)
        try:
            config = AutoConfig.from_pretrained(str(scratch), trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(str(scratch), trust_remote_code=False)
        # What the files of a run of an earlier version hold is not known, and tokenizers raises
        # nothing narrower.
        except Exception as error:
            reason = " ".join(str(error).split())[:200].replace(str(scratch), str(path))
            raise UserError(
                f"expected a model's configuration and tokenizer in {path} that need no code of "
                f"their own, found what transformers cannot read ({reason}): train again"
            ) from error
    return config, tokenizer


def _linear(path: Path, manifest: Manifest) -> LinearModel:
    linear = LinearModel.load(path / LINEAR)
    if linear.weights.shape[1] != len(manifest.labels):
        raise mismatch(
            path, f"{LINEAR} has {linear.weights.shape[1]} labels, not {len(manifest.labels)}"
        )
    return linear


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
    """Refuse labels that are not the manifest's, and a calibration of other labels."""
    orders: Iterable[tuple[str, list[str]]] = (
        (LABELS, list(labels.names)),
        (CONFIG, [name for _, name in sorted((config.id2label or {}).items())]),
    )
    for name, order in orders:
        if order != manifest.labels:
            raise mismatch(path, f"{name} has the labels {order}, the manifest {manifest.labels}")
    if list(labels.parents) != manifest.parents:
        raise mismatch(path, f"{LABELS} has other parents than the manifest")
    bias = manifest.calibration.label_bias
    if bias and len(bias) != len(labels.names):
        raise mismatch(path, f"the calibration has {len(bias)} labels, not {len(labels.names)}")
    for point in manifest.calibration.operating_points:
        labels.ids_of(point.labels, f"operating point {point.name} of {path}")
