"""Unpacks archives within bounds."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from smstune.errors import UserError
from smstune.files import file_hash, folder_written_whole

MAX_UNPACKED_BYTES = 1 << 30
#: Text compresses to about a tenth; an archive beyond this ratio is made to fill the disk.
MAX_RATIO = 200
_MAX_ENTRIES = 10_000


def unpack(
    archive: Path,
    target: Path,
    members: Mapping[str, str | None],
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    max_ratio: float = MAX_RATIO,
) -> Path:
    """Extract ``members`` (plain names, with SHA-256 where known) from a zip into ``target``.

    The names of the members do not include a top folder that holds everything, as in GitHub's
    archives. Other entries are not extracted.

    Raises:
        UserError: if the archive is broken, encrypted, larger than the limits, holds a link or a
            path that leads out of it, lacks a member, or a member's checksum is wrong.
    """
    try:
        with zipfile.ZipFile(archive) as zipped, folder_written_whole(target) as scratch:
            entries = _safe_entries(archive, zipped, max_bytes, max_ratio)
            if missing := sorted(set(members) - set(entries)):
                raise UserError(
                    "expected {missing} in {archive}, found no such file",
                    missing=", ".join(missing),
                    archive=archive,
                )
            for name, sha256 in members.items():
                # A member's stream ends at the size it states, which was checked above.
                with zipped.open(entries[name]) as source, (scratch / name).open("xb") as sink:
                    shutil.copyfileobj(source, sink)
                actual = file_hash(scratch / name)
                if sha256 is not None and actual != sha256:
                    raise UserError(
                        "expected SHA-256 {sha256} of {name} in {archive}, found {actual}: the "
                        "file was changed at its source: look at the set's home page before you "
                        "correct configs/sources.yaml",
                        sha256=sha256,
                        name=name,
                        archive=archive,
                        actual=actual,
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(
            "the zip archive {archive} is damaged ({error}): delete it and download again",
            archive=archive,
            error=error,
        ) from error
    return target


def _safe_entries(
    archive: Path, zipped: zipfile.ZipFile, max_bytes: int, max_ratio: float
) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by name, without a common top folder; refuse a hostile one."""
    entries = zipped.infolist()
    size = sum(entry.file_size for entry in entries)
    packed = archive.stat().st_size
    if len(entries) > _MAX_ENTRIES or size > max_bytes or size > max_ratio * packed:
        raise UserError(
            "expected at most {max_entries} files, {max_bytes} bytes and {max_ratio:g} times the "
            "packed size in {archive}, found {n_entries} files of {size} bytes from {packed}: "
            "it may be made to fill the disk; do not unpack it",
            max_entries=_MAX_ENTRIES,
            max_bytes=max_bytes,
            max_ratio=max_ratio,
            archive=archive,
            n_entries=len(entries),
            size=size,
            packed=packed,
        )
    for entry in entries:
        name = entry.filename
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
            raise UserError(
                "expected paths inside the archive, found {name!r} in {archive}",
                name=name,
                archive=archive,
            )
        if stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
            raise UserError(
                "expected plain files in {archive}, found {name!r}, which is a link or encrypted",
                archive=archive,
                name=name,
            )
    tops = {entry.filename.partition("/")[:2] for entry in entries}
    top = f"{next(iter(tops))[0]}/" if len(tops) == 1 and next(iter(tops))[1] else ""
    return {entry.filename.removeprefix(top): entry for entry in entries if not entry.is_dir()}
