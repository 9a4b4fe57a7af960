"""What is already scored of a file, kept beside the output until that is whole."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from smstune.errors import UserError
from smstune.files import file_written_whole, put_in_place, write_json

logger = logging.getLogger(__name__)


class Answers(NamedTuple):
    """The model's answers to some rows: a key of each message, and its probabilities.

    ``keys`` has shape ``(messages, 16)``, the same for identical messages, or no rows where
    nobody remembers messages; ``probabilities`` has shape ``(messages, labels)``.
    """

    keys: NDArray[np.uint8]
    probabilities: NDArray[np.float64]


class Parts:
    """The folder ``.OUTPUT.parts``: the answers to each some thousand rows, a file for each.

    They are numbers alone, so a killed run leaves no message behind but in the unfinished output,
    which lies there too. ``done`` is how many parts there are without a gap.
    """

    def __init__(self, output: Path, call: Mapping[str, str]) -> None:
        """Find the parts of the same ``call``; those of another are removed.

        Raises:
            UserError: if the folder's place is taken by a file.
        """
        self._output = Path(os.path.realpath(output))
        self._folder = self._output.with_name(f".{self._output.name}.parts")
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(
                f"expected to keep parts in a folder, found the file {self._folder}: remove it"
            )
        note = self._folder / "call.json"
        changed = _changes(note, call)
        if changed:
            logger.info("%s changed since the last start: starting anew", ", ".join(changed))
        if changed is None or changed:
            if self._folder.exists():
                rmtree(self._folder)
            self._folder.mkdir(parents=True)
            write_json(note, call)
        self.done = next(n for n in itertools.count() if self._whole(n) is None)
        #: Where the output is written; ``finish`` puts it in its place.
        self.scratch = self._folder / "output"

    def load(self, number: int) -> Answers:
        """Return a part: 0 and up to ``done``, ``done`` not included.

        Raises:
            UserError: if it was damaged since this object found it whole.
        """
        answers = self._whole(number)
        if answers is None:
            raise UserError(
                f"expected the answers that were in {self._part(number)} at the start, found it "
                "damaged: run the same command again"
            )
        return answers

    def save(self, number: int, answers: Answers) -> None:
        """Write a part, whole or not at all."""
        with file_written_whole(self._part(number)) as scratch:
            save_file(answers._asdict(), scratch, {"sha256": _hash(number, answers)})
        self.done = number + 1

    def finish(self) -> None:
        """Put the output in its place and remove the folder."""
        put_in_place(self.scratch, self._output)
        rmtree(self._folder)

    def _whole(self, number: int) -> Answers | None:
        """Return a part, or nothing where it is missing, damaged or somebody else's."""
        try:
            with safe_open(self._part(number), framework="numpy") as part:
                answers = Answers(part.get_tensor("keys"), part.get_tensor("probabilities"))
                expected = (part.metadata() or {}).get("sha256")
        except (OSError, SafetensorError):
            return None
        return answers if expected == _hash(number, answers) else None

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06}.safetensors"


def _changes(note: Path, call: Mapping[str, str]) -> list[str] | None:
    """Say what is not as it was at the last start; ``None`` where there was none."""
    try:
        before = json.loads(note.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(before, dict):
        return None
    return [name for name in call if before.get(name) != call[name]]


def _hash(number: int, answers: Answers) -> str:
    """Return the SHA-256 of a part's number and of the shapes, types and bytes of its answers."""
    digest = hashlib.sha256(str(number).encode())
    for array in answers:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
