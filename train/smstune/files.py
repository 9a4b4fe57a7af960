"""Files and folders that are written whole or not at all, and their hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from smstune.errors import UserError

#: The end of a scratch folder's name; no other program's folder is taken for a leftover of ours.
SCRATCH_SUFFIX = ".smstune-tmp"
#: What the kernel calls streams that are open already: a name for them cannot be replaced.
_OPEN_STREAM = re.compile(r"/dev/(?:stdin|stdout|stderr|fd/\d+)|/proc/(?:self|\d+)/fd/\d+")


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Give a fresh folder that takes the place of ``target`` only when the block succeeds.

    It lies beside ``target``, or beside what a link of that name points to. What a killed process
    left there is removed first. Files and folders reach the disk before the new name does, and
    have the modes that the umask asks for, whatever wrote them.

    Raises:
        UserError: if ``target`` exists and is not an empty folder.
    """
    final = _followed(target)
    # Before anything is refused: a kill right after the rename leaves a whole folder, and scratch.
    _remove_leftovers(final)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"expected a new or empty folder for the output, found {target} with content: "
            "choose another or remove it"
        )
    with _scratch_folder(final) as scratch:
        yield scratch
        put_in_place(scratch, final)


@contextmanager
def file_written_whole(target: Path) -> Iterator[Path]:
    """Give a path that takes the place of ``target`` only when the block succeeds.

    As ``folder_written_whole`` does it. A pipe or a device is not replaced: it is the path.
    """
    if is_stream(target):
        yield target
        return
    final = _followed(target)
    _remove_leftovers(final)
    with _scratch_folder(final) as scratch:
        yield scratch / final.name
        put_in_place(scratch / final.name, final)


def is_stream(path: Path) -> bool:
    """Say whether ``path`` names a pipe, a device or an open stream, which is written as it is."""
    if _OPEN_STREAM.fullmatch(str(path)):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def put_in_place(scratch: Path, target: Path) -> None:
    """Give a whole file or folder its name; a power cut leaves what was there before, or this.

    The contents reach the disk first, with the modes that the umask asks for: some libraries write
    files that only their owner can read. Both paths lie in one file system.
    """
    mode = _file_mode(scratch.parent)
    paths = [scratch]
    if scratch.is_dir():
        # Contents before the folder that names them.
        paths = [*sorted(scratch.rglob("*"), reverse=True), scratch]
    for path in paths:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
        _sync(path)
    scratch.replace(target)
    _sync(target.parent)


def _followed(target: Path) -> Path:
    """Return where a link, or a chain of them, points to; the folder that holds it is made."""
    final = Path(os.path.realpath(target))
    final.parent.mkdir(parents=True, exist_ok=True)
    return final


@contextmanager
def _scratch_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder for the content of ``final``, in a hidden one beside it.

    The hidden one is its owner's alone and locked while we live; unlocked ones are leftovers.
    """
    while True:
        holder = Path(mkdtemp(prefix=f".{final.name}-", suffix=SCRATCH_SUFFIX, dir=final.parent))
        lock = os.open(holder, os.O_RDONLY)
        # A file system without locks does without: nothing there is taken for a leftover.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if holder.exists():
            break
        # Another process took it for a leftover in the moment before it was locked.
        os.close(lock)
    try:
        scratch = holder / "new"
        scratch.mkdir()
        yield scratch
    finally:
        rmtree(holder, ignore_errors=True)
        os.close(lock)


def _remove_leftovers(final: Path) -> None:
    """Remove the scratch folders of processes that were killed while they wrote ``final``."""
    with os.scandir(final.parent) as entries:
        leftovers = [
            entry.path
            for entry in entries
            if entry.name.startswith(f".{final.name}-") and entry.name.endswith(SCRATCH_SUFFIX)
        ]
    for leftover in leftovers:
        with suppress(OSError):
            lock = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


def _file_mode(folder: Path) -> int:
    """Return the mode that a new file has, by the umask."""
    probe = folder / f".mode-{os.getpid()}{SCRATCH_SUFFIX}"
    probe.touch()
    try:
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
