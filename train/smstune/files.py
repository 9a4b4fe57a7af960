"""Files and folders that are written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from smstune.errors import UserError


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Give a fresh folder beside ``target`` that takes its place only when the block succeeds.

    Raises:
        UserError: if ``target`` exists and is not an empty folder.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"expected a new or empty folder for the output, found {target} with content: "
            "choose another or remove it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.replace(target)
    finally:
        rmtree(scratch, ignore_errors=True)


@contextmanager
def file_written_whole(target: Path) -> Iterator[Path]:
    """Give a path beside ``target`` that takes its place only when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def json_text(value: Any) -> str:  # noqa: ANN401
    """Return ``value`` as indented JSON with a line break at its end, Chinese as it is.

    Raises:
        ValueError: if it holds NaN or infinity, which JSON has no words for.
    """
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write ``value`` as JSON into a file, whole or not at all."""
    with file_written_whole(path) as scratch:
        scratch.write_text(json_text(value), "utf-8")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
