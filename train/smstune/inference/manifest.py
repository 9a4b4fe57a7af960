"""manifest.json: what a run is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from smstune.config.wording import explain
from smstune.errors import UserError
from smstune.files import file_written_whole
from smstune.inference.decision import Calibration
from smstune.text.normalize import NORMALIZER_VERSION

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


def store_calibration(path: Path, manifest: Manifest, calibration: Calibration) -> Manifest:
    """Put another calibration into a run folder's manifest, whole or not at all, and return it."""
    manifest = manifest.model_copy(update={"calibration": calibration})
    with file_written_whole(path / "manifest.json") as scratch:
        scratch.write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
    return manifest


def load_manifest(path: Path) -> Manifest:
    """Read ``manifest.json`` of a run folder.

    Raises:
        UserError: if the folder holds no finished run.
    """
    file = path / "manifest.json"
    if not file.is_file():
        unfinished = (path / "checkpoints").is_dir()
        raise UserError(
            f"expected a finished run folder, found no manifest.json in {path}"
            + (
                ": the training was stopped, continue it with training.resume_from_checkpoint=true"
                if unfinished
                else ": check the path"
            )
        )
    try:
        return Manifest.model_validate_json(file.read_text("utf-8"))
    except ValidationError as error:
        problems = explain(error, Manifest)
        raise UserError(f"{file}: expected format {FORMAT_VERSION}: {problems}") from error


def mismatch(path: Path, reason: str) -> UserError:
    """Return the error of a run folder whose parts are not of one run."""
    return UserError(
        f"the parts of {path} do not belong together: {reason}: "
        "restore the folder as it was published or train again"
    )
