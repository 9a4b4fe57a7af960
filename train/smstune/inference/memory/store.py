"""Reads and writes the generations of a run's memory.

``RUN/memory`` holds ``manifest.json`` and the two files that it names: the sketches
(``generation-N.safetensors``) and the campaigns, a line of JSON each (``generation-N.jsonl``). Both
are mapped from disk. The run's own manifest names none of them.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import save_file

from smstune.arrays import Ints, Rows
from smstune.errors import UserError
from smstune.files import file_hash, file_written_whole, json_text
from smstune.inference.manifest import values_checksum
from smstune.inference.memory.entries import ACTIONS, Entry
from smstune.inference.memory.folder import MEMORY, MEMORY_MANIFEST
from smstune.inference.memory.index import Index, empty_index
from smstune.language import Message
from smstune.results import Result
from smstune.text.normalize import NORMALIZER_VERSION

#: An entry without an end.
FOREVER = np.iinfo(np.int64).max
_FORMAT_VERSION = 1
_LOCK = ".lock"
#: A writer may replace the files of a generation between its manifest and they are opened.
_ATTEMPTS = 5
_TYPES = {"U64": np.uint64, "I64": np.int64, "I32": np.int32, "I8": np.int8}


class MemoryManifest(Result):
    """``manifest.json`` of a memory: what its generation holds, and the hashes of its files.

    ``labels`` are those of all entries, ``next_id`` the next entry's; ids are not used again.
    ``similarity`` was chosen when the memory was begun, because its sketches depend on it.
    """

    format_version: int
    generation: int
    normalizer_version: int
    similarity: float
    labels: list[str]
    next_id: int
    campaigns: int
    messages: int
    sha256: dict[str, str]
    checksum: str


@dataclass(frozen=True)
class Generation:
    """One state of a memory, which never changes.

    An entry is named by its number, from 0. ``campaigns`` has the entry of each message of
    ``index``; ``label_ids`` (of ``labels``), ``action_ids`` (of ``ACTIONS``), ``until`` (seconds
    since 1970) and ``lines`` are those of each entry. ``digest`` is that of the manifest's bytes.
    """

    number: int
    digest: str
    similarity: float
    next_id: int
    labels: Sequence[str]
    index: Index
    campaigns: Rows
    label_ids: Rows
    action_ids: NDArray[np.int8]
    until: Ints
    lines: Lines

    def entry(self, number: int) -> Entry:
        """Return the entry of a number."""
        return Entry.model_validate_json(self.lines[number])

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, the oldest first."""
        return map(self.entry, range(len(self.lines)))

    def only(self, kept: Sequence[int]) -> Generation:
        """Return a generation of the entries of these numbers, in their order."""
        numbers = np.full(len(self.lines), -1, dtype=np.int32)
        numbers[list(kept)] = np.arange(len(kept))
        messages = numbers[self.campaigns] >= 0
        return Generation(
            self.number,
            self.digest,
            self.similarity,
            self.next_id,
            self.labels,
            self.index.only(messages),
            numbers[self.campaigns[messages]],
            self.label_ids[list(kept)],
            self.action_ids[list(kept)],
            self.until[list(kept)],
            Lines.of([self.lines[number] for number in kept]),
        )

    def with_entries(
        self, entries: Mapping[int, Entry], index: Index, campaigns: Rows
    ) -> Generation:
        """Return a generation with other entries under these numbers, and with other messages.

        Numbers after the last add an entry.
        """
        lines = [self.lines[number] for number in range(len(self.lines))]
        n_entries = max(len(lines), 1 + max(entries, default=-1))
        lines += [b""] * (n_entries - len(lines))
        labels = list(self.labels)
        labels += sorted({entry.label for entry in entries.values()} - set(labels))
        label_ids = np.zeros(n_entries, dtype=np.int32)
        action_ids = np.zeros(n_entries, dtype=np.int8)
        until = np.zeros(n_entries, dtype=np.int64)
        label_ids[: len(self.lines)] = self.label_ids
        action_ids[: len(self.lines)] = self.action_ids
        until[: len(self.lines)] = self.until
        for number, entry in entries.items():
            lines[number] = (json.dumps(entry.to_json(), ensure_ascii=False) + "\n").encode()
            label_ids[number] = labels.index(entry.label)
            action_ids[number] = ACTIONS.index(entry.action)
            until[number] = FOREVER if entry.until is None else _seconds(entry.until)
        return Generation(
            self.number,
            self.digest,
            self.similarity,
            max([self.next_id, *(entry.id + 1 for entry in entries.values())]),
            labels,
            index,
            campaigns,
            label_ids,
            action_ids,
            until,
            Lines.of(lines),
        )


@dataclass(frozen=True)
class Lines:
    """The lines of a file, which may be mapped; ``starts`` has their starts, and the last end."""

    content: bytes | mmap.mmap
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.content[self.starts[number] : self.starts[number + 1]]

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Lines:
        """Return lines that are in memory."""
        return cls(b"".join(lines), np.cumsum([0, *map(len, lines)], dtype=np.int64))


def empty_generation(similarity: float, n_bands: int) -> Generation:
    """Return the state before anything was learned."""
    return Generation(
        number=0,
        digest="",
        similarity=similarity,
        next_id=1,
        labels=[],
        index=empty_index(n_bands),
        campaigns=np.empty(0, np.int32),
        label_ids=np.empty(0, np.int32),
        action_ids=np.empty(0, np.int8),
        until=np.empty(0, np.int64),
        lines=Lines.of([]),
    )


def open_generation(run: Path) -> Generation | None:
    """Return the current generation of a run's memory, mapped from disk; ``None`` without one.

    Raises:
        UserError: if its files are missing, damaged, or of another version.
    """
    manifest_file = run / MEMORY / MEMORY_MANIFEST
    missing: FileNotFoundError | None = None
    for _ in range(_ATTEMPTS):
        try:
            content = manifest_file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _opened(run, content)
        except FileNotFoundError as error:
            # A writer may have made the next generation and deleted this one's files.
            missing = error
    name = Path(missing.filename).name if missing else ""
    raise _broken(run, Message("no file {name}", name=name))


def _opened(run: Path, content: bytes) -> Generation:
    manifest = _parsed(run, content)
    folder = run / MEMORY
    for name, expected in manifest.sha256.items():
        if file_hash(folder / name) != expected:
            raise _broken(run, Message("{name} is not the file that its manifest names", name=name))
    sketches, lines = generation_files(manifest.generation)
    tensors = _mapped_tensors(folder / sketches)
    return Generation(
        manifest.generation,
        hashlib.sha256(content).hexdigest(),
        manifest.similarity,
        manifest.next_id,
        manifest.labels,
        Index(tensors["keys"], tensors["rows"], tensors["starts"], tensors["grams"]),
        tensors["campaigns"],
        tensors["label_ids"],
        tensors["action_ids"],
        tensors["until"],
        Lines(_mapped(folder / lines), tensors["lines"]),
    )


def _parsed(run: Path, content: bytes) -> MemoryManifest:
    try:
        values = json.loads(content)
        manifest = MemoryManifest.model_validate(values)
    except (ValueError, ValidationError) as error:
        raise _broken(run, Message("its manifest.json is damaged")) from error
    if manifest.format_version != _FORMAT_VERSION:
        raise UserError(
            "{folder} has format version {version}, this library reads {expected}: update smstune, "
            "or delete the folder and learn the reports again",
            folder=run / MEMORY,
            version=manifest.format_version,
            expected=_FORMAT_VERSION,
        )
    if manifest.checksum != values_checksum(values):
        raise _broken(run, Message("its manifest.json is damaged"))
    if list(manifest.sha256) != list(generation_files(manifest.generation)):
        raise _broken(run, Message("its manifest.json names other files than a memory has"))
    if manifest.normalizer_version != NORMALIZER_VERSION:
        raise UserError(
            "{folder} was written under normaliser version {version}, this library has {expected}: "
            "delete the folder and learn the reports again",
            folder=run / MEMORY,
            version=manifest.normalizer_version,
            expected=NORMALIZER_VERSION,
        )
    return manifest


def _broken(run: Path, problem: Message) -> UserError:
    return UserError(
        "the memory {folder} is broken: {problem}: restore the folder from a backup, or delete it "
        "and learn the reports again",
        folder=run / MEMORY,
        problem=problem,
    )


def generation_files(generation: int) -> tuple[str, str]:
    """Return the names of the files of a generation: of its sketches and of its campaigns."""
    return f"generation-{generation}.safetensors", f"generation-{generation}.jsonl"


def _mapped(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as stream:
        # An empty file cannot be mapped.
        if not path.stat().st_size:
            return b""
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _mapped_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file without reading them; the package copies them."""
    content = _mapped(path)
    (header_length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + header_length])
    tensors = {}
    for name, tensor in header.items():
        start, end = tensor["data_offsets"]
        kind = np.dtype(_TYPES[tensor["dtype"]])
        flat = np.frombuffer(
            content, kind, (end - start) // kind.itemsize, 8 + header_length + start
        )
        tensors[name] = flat.reshape(tensor["shape"])
    return tensors


@contextmanager
def writer_lock(run: Path) -> Iterator[None]:
    """Wait until no other process writes the memory of ``run``, and keep others waiting.

    The lock of a process that dies is free again.
    """
    folder = run / MEMORY
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_generation(run: Path, generation: Generation) -> None:
    """Write the next generation of a run's memory, under ``writer_lock``.

    Its files come first; the rename of the manifest makes it the current one. Files of the last
    generation stay readable for those who have opened them.
    """
    number = generation.number + 1
    sketches, lines = names = generation_files(number)
    folder = run / MEMORY
    _remove_all_but(folder, generation_files(generation.number))
    index = generation.index
    tensors: dict[str, NDArray[Any]] = {
        "keys": index.keys,
        "rows": index.rows,
        "starts": index.starts,
        "grams": index.grams,
        "campaigns": generation.campaigns,
        "label_ids": generation.label_ids,
        "action_ids": generation.action_ids,
        "until": generation.until,
        "lines": generation.lines.starts,
    }
    with file_written_whole(folder / sketches) as scratch:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, scratch)
    with file_written_whole(folder / lines) as scratch:
        scratch.write_bytes(generation.lines.content)
    values = {
        "format_version": _FORMAT_VERSION,
        "generation": number,
        "normalizer_version": NORMALIZER_VERSION,
        "similarity": generation.similarity,
        "labels": list(generation.labels),
        "next_id": generation.next_id,
        "campaigns": len(generation.lines),
        "messages": index.n_messages,
        "sha256": {name: file_hash(folder / name) for name in names},
    }
    values["checksum"] = values_checksum(values)
    with file_written_whole(folder / MEMORY_MANIFEST) as scratch:
        scratch.write_text(json_text(values), "utf-8")
    _remove_all_but(folder, names)


def _remove_all_but(folder: Path, names: Sequence[str]) -> None:
    for path in folder.glob("generation-*"):
        if path.name not in names:
            # Windows deletes no file that a reader has mapped; the next writer will.
            with suppress(OSError):
                path.unlink()


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())
