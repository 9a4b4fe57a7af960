"""The rows already scored, stored beside the output until it is complete."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from smstune.errors import UserError
from smstune.files import file_written_whole, put_in_place, write_json

_SCRATCH = "output"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """The model's answers to a chunk of rows.

    ``probabilities`` has shape ``(messages, labels)``; ``keys`` has shape ``(messages, 16)``, equal
    for identical messages, or no rows if copies are not recognised across chunks.
    """

    keys: NDArray[np.uint8]
    probabilities: NDArray[np.float64]


class ScoredParts:
    """The folder ``.OUTPUT.parts``: one safetensors file per chunk of rows already scored.

    The files hold only numbers: a killed run leaves messages behind only in the unfinished output,
    which is in the same folder until all rows are scored. ``done`` counts the parts up to the first
    missing one.
    """

    def __init__(self, output: Path, call: Mapping[str, str]) -> None:
        """Find the parts of an earlier run of the same ``call``; remove those of any other.

        Raises:
            UserError: if there is a file of the folder's name.
        """
        self._output = Path(os.path.realpath(output))
        self._folder = _folder(output)
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(
                "the scored rows are stored in {folder}, which is a file: remove it",
                folder=self._folder,
            )
        call_file = self._folder / "call.json"
        changed = _changes(call_file, call)
        if changed:
            logger.info("%s changed since the last start: starting over", ", ".join(changed))
        if changed is None or changed:
            if self._folder.exists():
                rmtree(self._folder)
            self._folder.mkdir(parents=True)
            write_json(call_file, call)
        self.done = next(n for n in itertools.count() if self._whole(n) is None)
        #: Where the output is written until ``finish`` moves it.
        self.scratch = self._folder / _SCRATCH
        # Some formats write nothing before the end.
        self.scratch.touch()

    def load(self, number: int) -> Answers:
        """Return the part of a number below ``done``.

        Raises:
            UserError: if it was damaged since the start.
        """
        answers = self._whole(number)
        if answers is None:
            raise UserError(
                "{path} was damaged since the start: run the same command again",
                path=self._path(number),
            )
        return answers

    def save(self, number: int, answers: Answers) -> None:
        """Write a part atomically."""
        with file_written_whole(self._path(number)) as scratch:
            tensors: dict[str, NDArray[Any]] = {
                "keys": answers.keys,
                "probabilities": answers.probabilities,
            }
            save_file(tensors, scratch, {"sha256": _hash(number, answers)})
        self.done = number + 1

    def finish(self) -> None:
        """Move the output to its final path and remove the folder."""
        put_in_place(self.scratch, self._output)
        rmtree(self._folder)

    def _whole(self, number: int) -> Answers | None:
        """Return a part, ``None`` if it is missing, damaged or another program's file."""
        try:
            with safe_open(self._path(number), framework="numpy") as tensors:
                answers = Answers(tensors.get_tensor("keys"), tensors.get_tensor("probabilities"))
                expected = (tensors.metadata() or {}).get("sha256")
        except (OSError, SafetensorError):
            return None
        return answers if expected == _hash(number, answers) else None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.safetensors"


def remove_finished(output: Path) -> None:
    """Remove the folder of a run that was killed when its output was complete."""
    folder = _folder(output)
    if folder.is_dir() and not (folder / _SCRATCH).exists():
        rmtree(folder)


def _folder(output: Path) -> Path:
    """Return the folder of scored rows beside an output, or beside the target of a link."""
    final = Path(os.path.realpath(output))
    return final.with_name(f".{final.name}.parts")


def _changes(call_file: Path, call: Mapping[str, str]) -> list[str] | None:
    """Return what changed since the last start, ``None`` if this is the first."""
    try:
        before = json.loads(call_file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(before, dict):
        return None
    return [name for name in call if before.get(name) != call[name]]


def _hash(number: int, answers: Answers) -> str:
    """Return the SHA-256 of a part's number and of the shapes, types and bytes of its answers."""
    digest = hashlib.sha256(str(number).encode())
    for array in (answers.keys, answers.probabilities):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
