"""Writes files and folders atomically; hashes and JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir, mkdtemp

from smstune.errors import UserError

#: Suffix of our scratch folders, to tell them from other programs' folders.
SCRATCH_SUFFIX = ".smstune-tmp"
#: Windows has no flock, and opens no folder to lock or sync it.
_OPENS_FOLDERS = os.name == "posix"
#: Paths of streams that are already open, which cannot be replaced.
_OPEN_STREAM = re.compile(r"/dev/(?:stdin|stdout|stderr|fd/\d+)|/proc/(?:self|\d+)/fd/\d+")


def refuse_to_overwrite(output: Path, inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Check that writing ``output`` loses nothing that the user has not given up.

    Every command that writes where the user says follows this rule. Pipes, devices and empty
    folders have nothing to lose.

    Raises:
        UserError: if ``output`` is one of ``inputs``, also through a link, or if it exists and
            ``overwrite`` is false.
    """
    if is_stream(output) or not output.exists():
        return
    if any(path.exists() and path.samefile(output) for path in inputs):
        raise UserError(
            "the output {output} is the input itself: name another output", output=output
        )
    if not overwrite and not _is_empty_folder(output):
        # A kill right after the rename leaves the output and scratch.
        remove_leftovers(Path(os.path.realpath(output)))
        raise UserError(
            "{output} exists: name another output, or replace it with --overwrite", output=output
        )


@contextmanager
def folder_written_whole(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder that replaces ``target`` only if the block succeeds.

    It is created beside ``target``, or beside the target of a link of that name, after removing
    leftovers of killed processes. Files and folders are synced to disk before the rename, and get
    the modes of the umask. With ``overwrite`` a folder with content is replaced; a kill between
    the two renames that this takes leaves neither.

    Raises:
        UserError: if ``target`` exists and is not an empty folder, or one to be overwritten.
    """
    final = _followed(target)
    # Before refusing a folder with content: a kill right after the rename leaves it and scratch.
    remove_leftovers(final)
    allowed = target.is_dir() if overwrite else _is_empty_folder(target)
    if target.exists() and not allowed:
        raise UserError(
            "expected a new or empty folder for the output, found {target} with content: "
            "choose another or remove it",
            target=target,
        )
    with scratch_folder(final) as scratch:
        yield scratch
        _make_durable(scratch)
        if overwrite and final.is_dir():
            # No rename replaces a folder with content.
            final.rename(scratch.with_name("old"))
        scratch.replace(final)
        _sync(final.parent)


@contextmanager
def file_written_whole(target: Path) -> Iterator[Path]:
    """Give a path that replaces ``target`` only if the block succeeds.

    Works like ``folder_written_whole``. For a pipe or a device the path is ``target`` itself.
    """
    if is_stream(target):
        yield target
        return
    final = _followed(target)
    with scratch_folder(final) as scratch:
        yield scratch / final.name
        put_in_place(scratch / final.name, final)


@contextmanager
def scratch_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder for what belongs to ``final``, in a hidden one beside it.

    It is gone after the block. The hidden one is its owner's alone and locked while we live;
    unlocked ones are leftovers of killed processes and removed first. On Windows nothing is locked,
    and leftovers stay.
    """
    remove_leftovers(final)
    while True:
        holder = Path(mkdtemp(prefix=f".{final.name}-", suffix=SCRATCH_SUFFIX, dir=final.parent))
        # Another process may take it for a leftover in the moment before it is locked.
        with suppress(FileNotFoundError):
            lock = _locked(holder)
            if holder.exists():
                break
            _unlock(lock)
    try:
        scratch = holder / "new"
        scratch.mkdir()
        yield scratch
    finally:
        rmtree(holder, ignore_errors=True)
        _unlock(lock)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone in the block; another waits. Not on Windows.

    The folder is created if missing. The lock ends with the process, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    try:
        yield
    finally:
        _unlock(lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder and return the descriptor that holds the lock; ``None`` on Windows."""
    if not _OPENS_FOLDERS:
        return None
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    # A file system without locks does without: nothing there is taken for a leftover.
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def remove_leftovers(final: Path) -> None:
    """Remove the scratch folders of processes that were killed while they wrote ``final``."""
    if not _OPENS_FOLDERS:
        return
    import fcntl

    with os.scandir(final.parent) as entries:
        leftovers = [
            entry.path
            for entry in entries
            if entry.name.startswith(f".{final.name}-") and entry.name.endswith(SCRATCH_SUFFIX)
        ]
    for leftover in leftovers:
        with suppress(OSError):
            # In a folder that others write to, a pipe of that name would be waited for.
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give an empty folder among the system's temporary ones, as ``scratch_folder`` does."""
    with scratch_folder(Path(gettempdir()) / "smstune") as scratch:
        yield scratch


def is_stream(path: Path) -> bool:
    """Return whether ``path`` is a pipe, a device or an open stream, which cannot be replaced."""
    if _OPEN_STREAM.fullmatch(str(path)):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def put_in_place(scratch: Path, target: Path) -> None:
    """Rename a complete file or folder so that a power cut leaves either the old or the new one.

    Both paths must be in one file system.
    """
    _make_durable(scratch)
    scratch.replace(target)
    _sync(target.parent)


def _make_durable(scratch: Path) -> None:
    """Sync a file, or a folder with its contents, to disk, and give it the modes of the umask.

    Some libraries write files that only their owner can read.
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


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _followed(target: Path) -> Path:
    """Return the path without symbolic links; create its parent folder."""
    final = Path(os.path.realpath(target))
    final.parent.mkdir(parents=True, exist_ok=True)
    return final


def _file_mode(folder: Path) -> int:
    """Return the mode of a new file under the umask."""
    probe = folder / f".mode-{os.getpid()}{SCRATCH_SUFFIX}"
    probe.touch()
    try:
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()


def _sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk."""
    if not _OPENS_FOLDERS and path.is_dir():
        return
    # Windows syncs only what is open for writing.
    descriptor = os.open(path, os.O_RDONLY if _OPENS_FOLDERS else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_text(content: object) -> str:
    """Return ``content`` as indented JSON with a final line break, with Chinese unescaped.

    Raises:
        ValueError: if it contains NaN or infinity, which JSON cannot represent.
    """
    return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as JSON into a file, atomically."""
    with file_written_whole(path) as scratch:
        scratch.write_text(json_text(content), "utf-8")


def json_digest(content: object) -> str:
    """Return the SHA-256 of a value of JSON's types, in hexadecimal, whatever its keys' order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
