"""Reads the record of an encoder's pretraining."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from transformers.utils.hub import cached_file

from smstune.config.wording import explain
from smstune.errors import UserError
from smstune.inference.manifest import MANIFEST, PRETRAINING
from smstune.inference.origin import PretrainingFacts


def load_pretraining(name_or_path: str, *, revision: str | None = None) -> PretrainingFacts | None:
    """Return what `smstune pretrain` wrote of a checkpoint; of a run, what its manifest copied.

    ``None`` where the checkpoint says nothing.

    Raises:
        UserError: if ``pretraining.json`` is damaged.
    """
    path = _file(name_or_path, PRETRAINING, revision)
    if path is None:
        return _of_run(_file(name_or_path, MANIFEST, revision))
    try:
        return PretrainingFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            "{path}: expected what `smstune pretrain` writes: {problems}: restore the folder",
            path=path,
            problems=explain(error, PretrainingFacts),
        ) from error


def _of_run(manifest: Path | None) -> PretrainingFacts | None:
    """Return what a run's manifest copied; other programs write files of that name, too."""
    if manifest is None:
        return None
    try:
        content = json.loads(manifest.read_bytes())
    except ValueError:
        return None
    if not isinstance(content, dict) or "pretraining" not in content:
        return None
    try:
        return PretrainingFacts.model_validate(content["pretraining"])
    except ValidationError:
        return None


def _file(name_or_path: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a checkpoint, from the hub if need be, ``None`` if it has none."""
    path = cached_file(
        name_or_path,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)
