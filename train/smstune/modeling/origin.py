"""What a checkpoint says of the unlabelled messages that it has read."""

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
        UserError: if the file that says it is damaged.
    """
    for name in (PRETRAINING, MANIFEST):
        path = cached_file(
            name_or_path,
            name,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is None:
            continue
        try:
            content = json.loads(Path(path).read_bytes())
            facts = content.get("pretraining") if name == MANIFEST else content
            return None if facts is None else PretrainingFacts.model_validate(facts)
        except (ValueError, AttributeError) as error:
            problems = (
                explain(error, PretrainingFacts) if isinstance(error, ValidationError) else error
            )
            raise UserError(
                "{path}: expected what `smstune pretrain` writes: {problems}: restore the folder",
                path=path,
                problems=problems,
            ) from error
    return None
