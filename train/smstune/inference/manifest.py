"""manifest.json: what a run is made of, and the files that its answers are computed from."""

from __future__ import annotations

import difflib
import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from smstune.config.wording import explain
from smstune.errors import UserError
from smstune.files import file_hash, file_written_whole, json_digest
from smstune.inference.decision import Calibration
from smstune.inference.linear import LINEAR
from smstune.inference.origin import (
    DataFacts,
    DistillationFacts,
    PretrainingFacts,
    TrainingFacts,
)
from smstune.inference.tokenization import Padding
from smstune.language import Message, joined
from smstune.text.normalize import NORMALIZER_VERSION, preprocess
from smstune.text.pii.mask import mask_pii
from smstune.text.probes import text_versions

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
#: What `smstune pretrain` leaves in an encoder folder, last.
PRETRAINING = "pretraining.json"
CONFIG, WEIGHTS, LABELS = "config.json", "model.safetensors", "labels.json"
#: What transformers reads a tokenizer from.
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
#: Files that every run has and every manifest names.
HASHED = (CONFIG, WEIGHTS, TOKENIZER[0], LABELS)
#: Files that `smstune export` writes: the description (JSON), the report (Markdown), and the ONNX
#: files.
EXPORT, EXPORT_REPORT = "onnx/export.json", "onnx/report.md"
FORMS = ("onnx/model.onnx", "onnx/model_int8.onnx", "onnx/model_fp16.onnx")
EXPORTED_FILES = (EXPORT, EXPORT_REPORT, *FORMS)
#: All files that a manifest may list; prediction reads no others.
NAMED = (*HASHED, LINEAR, *TOKENIZER[1:], *EXPORTED_FILES)
#: Files that a manifest of an earlier version, which has no checksum, does not name.
_UNNAMED_BEFORE = frozenset({*TOKENIZER[1:], *EXPORTED_FILES})
#: Folder in which an export is completed; its files are moved to `onnx/` after the manifest names
#: them.
STAGED = ".exported"

logger = logging.getLogger(__name__)


class TextOptions(BaseModel):
    """How a message is preprocessed before it is tokenised."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    normalizer_version: int = NORMALIZER_VERSION
    mask_pii: bool = True
    drop_punctuation: bool = False

    def preprocess(self, text: str) -> str:
        """Return a raw message as the model reads it."""
        return preprocess(text, mask=self.mask_pii, drop_punctuation=self.drop_punctuation)

    def masked(self, clean: str) -> str:
        """Return a preprocessed message as a memory has it: masked, even if the model's is not."""
        return clean if self.mask_pii else mask_pii(clean)


class Manifest(BaseModel):
    """What a run is made of; ``manifest.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    format_version: int = FORMAT_VERSION
    labels: list[str]
    parents: list[str | None]
    text: TextOptions
    #: What ``probe_digest`` gave where it was trained; ``None`` in runs of earlier versions.
    probe_digest: str | None = None
    max_length: int = Field(ge=3, le=1_000_000)
    #: ``None`` in runs of earlier versions, where tokenizer_config.json says it.
    padding: Padding | None = None
    calibration: Calibration = Field(default_factory=Calibration)
    data: DataFacts
    base_model: dict[str, str | None]
    #: ``None`` where the encoder was not pretrained by `smstune pretrain`.
    pretraining: PretrainingFacts | None = None
    training: TrainingFacts
    #: ``None`` where no teacher was learned from.
    distillation: DistillationFacts | None = None
    versions: dict[str, str]
    #: SHA-256 of every file that an answer is computed from, by its name in the run folder.
    sha256: dict[str, str] = {}
    #: ``values_checksum`` of all other values, against damage; earlier versions wrote none.
    checksum: str | None = None

    @field_validator("calibration")
    @classmethod
    def _has_thresholds_of_probabilities(cls, calibration: Calibration) -> Calibration:
        for point in calibration.operating_points:
            for threshold in (point.threshold, point.review_from):
                # Rounding may take a sum of probabilities past 1.
                if threshold is not None and not 0 <= threshold <= 1 + 1e-6:
                    raise ValueError(
                        Message(
                            "{name}: no threshold of a probability: {threshold:g}",
                            name=point.name,
                            threshold=threshold,
                        )
                    )
        return calibration


def write_manifest(run: Path, manifest: Manifest) -> Manifest:
    """Write ``manifest.json`` of a run folder, whole, with its checksum, and return what it holds.

    A manifest without a checksum (a new run's, or an earlier version's) is completed: it gets the
    hash of each file of the folder that answers are computed from and that it does not name. A
    manifest that already has a checksum keeps its hashes, so files changed or added later are not
    accepted.
    """
    if manifest.checksum is None:
        unnamed = [name for name in NAMED if name not in manifest.sha256 and (run / name).is_file()]
        hashes = manifest.sha256 | {name: file_hash(run / name) for name in unnamed}
        manifest = manifest.model_copy(update={"sha256": hashes})
    checksum = values_checksum(json.loads(manifest.model_dump_json()))
    manifest = manifest.model_copy(update={"checksum": checksum})
    with file_written_whole(run / MANIFEST) as scratch:
        scratch.write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
    return manifest


def store_calibration(run: Path, manifest: Manifest, calibration: Calibration) -> Manifest:
    """Put another calibration into a run folder's manifest, whole or not at all, and return it."""
    return write_manifest(run, manifest.model_copy(update={"calibration": calibration}))


def values_checksum(values: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's values but ``checksum``, in JSON with sorted keys."""
    values = {name: value for name, value in values.items() if name != "checksum"}
    return json_digest(values)


def _no_folder(path: Path) -> Message:
    """Return that ``path`` is missing, and the run of the most similar name beside it, if any."""
    runs = [file.parent.name for file in path.parent.glob(f"*/{MANIFEST}")]
    near = difflib.get_close_matches(path.name, runs, n=1, cutoff=0.5)
    if not near:
        return Message("no folder at {path}: check the path", path=path)
    return Message(
        "no folder at {path}: did you mean {near}? If not, check the path",
        path=path,
        near=path.with_name(near[0]),
    )


def load_manifest(path: Path) -> Manifest:
    """Read ``manifest.json`` of a run folder.

    Raises:
        UserError: if the folder holds no finished run, or the manifest is damaged or names other
            files than a run has.
    """
    file = path / MANIFEST
    if not path.exists():
        raise UserError(_no_folder(path))
    if not file.is_file():
        unfinished = (path / "checkpoints").is_dir()
        if unfinished:
            raise UserError(
                "expected a finished run folder, found no manifest.json in {path}: wait until the "
                "training ends or, if it was stopped, continue it with "
                "training.resume_from_checkpoint=true",
                path=path,
            )
        raise UserError(
            "expected a finished run folder, found no manifest.json in {path}: check the path",
            path=path,
        )
    if (path / "train.parquet").is_file():
        raise UserError(
            "expected a run folder, found the prepared folder {path}: name the run, such as "
            "runs/mine",
            path=path,
        )
    try:
        text = file.read_text("utf-8")
        values = json.loads(text)
    except ValueError as error:
        raise mismatch(path, Message("manifest.json is not JSON ({error})", error=error)) from error
    if isinstance(values, dict) and values.get("checksum") not in (None, values_checksum(values)):
        raise mismatch(
            path, Message("manifest.json was changed: its checksum is not that of its values")
        )
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        problems = explain(error, Manifest)
        raise UserError(
            "{file}: expected format {format_version}: {problems}",
            file=file,
            format_version=FORMAT_VERSION,
            problems=problems,
        ) from error
    unnamed = [name for name in HASHED if name not in manifest.sha256]
    if unnamed:
        raise mismatch(
            path, Message("manifest.json has no SHA-256 of {names}", names=", ".join(unnamed))
        )
    strange = [name for name in manifest.sha256 if name not in NAMED]
    if strange:
        raise mismatch(
            path, Message("manifest.json names {names}, which no run has", names=", ".join(strange))
        )
    return manifest


def run_file(run: Path, manifest: Manifest, name: str) -> Path | None:
    """Return where a file of a run lies, its content compared with the manifest's hash.

    ``None`` where the run has no such file: a file that the manifest does not list is never read.
    For runs of earlier versions, whose manifests list fewer files, some files are returned
    unchecked.

    Raises:
        UserError: if the file is missing or another.
    """
    expected = manifest.sha256.get(name)
    if expected is None:
        unchecked = manifest.checksum is None and name in _UNNAMED_BEFORE
        return run / name if unchecked and (run / name).is_file() else None
    # An export that was stopped after it wrote the manifest left the new files where it made them.
    candidates = [path for path in (run / name, run / STAGED / name) if path.is_file()]
    if not candidates:
        if name in EXPORTED_FILES:
            raise UserError(
                "expected {name} in the run folder {run}, found none: restore the folder as it "
                "was, or export the run again",
                name=name,
                run=run,
            )
        raise UserError(
            "expected {name} in the run folder {run}, found none: restore the folder as it was or "
            "train again",
            name=name,
            run=run,
        )
    for path in candidates:
        if file_hash(path) == expected:
            return path
    raise mismatch(
        run, Message("{file} is not the file that {manifest} names", file=name, manifest=MANIFEST)
    )


@cache
def warn_unchecked(run: Path) -> None:
    """Say once in a process what an earlier version's manifest leaves unchecked."""
    files = [name for name in NAMED if name in _UNNAMED_BEFORE and (run / name).is_file()]
    logger.warning(
        "warning: %s was made by an earlier version: changes of %s go unnoticed, until "
        "`smstune eval RUN --calibrate` or an export completes its manifest",
        run,
        joined([Message("the manifest's own values"), *files], ", "),
    )


@cache
def warn_of_other_tables(path: Path, versions: str) -> None:
    """Say once in a process that text is normalised otherwise than where the run was trained."""
    logger.warning(
        "warning: %s was trained with %s, and here some probe texts are normalised otherwise (%s), "
        "so its scores may differ: install the same versions",
        path,
        versions,
        ", ".join(f"{name} {number}" for name, number in text_versions().items()),
    )


def mismatch(path: Path, reason: Message) -> UserError:
    """Return the error of a run folder whose parts are not of one run."""
    return UserError(
        "the parts of {path} do not belong together: {reason}: "
        "restore the folder as it was published or train again",
        path=path,
        reason=reason,
    )
