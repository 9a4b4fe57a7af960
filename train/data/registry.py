"""The registry of public data sets: where each is, under which terms, and how to fetch it."""

from __future__ import annotations

import difflib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from train.command import UserError, folder_written_whole
from train.config import read_yaml
from train.data.checksum import file_hash
from train.data.download import download, require_safe_address
from train.data.sources import SOURCES
from train.sections import Section

MAX_UNPACKED_BYTES = 1 << 30
#: Text compresses to a tenth or so; beyond this an archive is made to fill the disk.
MAX_RATIO = 200
_MAX_ENTRIES = 10_000


def _safe_address(value: str) -> str:
    require_safe_address(value)
    return value


def _known_format(value: str) -> str:
    if value not in SOURCES:
        raise ValueError(f"expected one of {', '.join(SOURCES)}")
    return value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Address = Annotated[str, AfterValidator(_safe_address)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: A name that cannot lead out of the folder it is written in, and is not hidden there.
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00.][^/\\\x00]*$")]
SetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class SetFile(Section):
    """One file of a set, or an archive from which ``members`` are taken."""

    name: FileName
    address: Address
    sha256: Sha256 | None = Field(description="Null where nobody states it.")
    members: dict[FileName, Sha256 | None] = Field(
        default={}, description="Files to take out of a zip archive, with their SHA-256."
    )


class PublicSet(Section):
    """A public data set and what there is to know before it is used."""

    name: SetName
    title: Text
    home: Text | None = Field(description="The page that describes it; null where there is none.")
    format: Annotated[str, AfterValidator(_known_format)] = Field(description="Name of a reader.")
    labels: Path | None = Field(None, description="A label file that fits.")
    licence: Text = Field(description="As its authors state it.")
    commercial_use: Literal["allowed", "unclear", "no"]
    citation: Text
    download: bool = Field(description="False: by local path only.")
    files: tuple[SetFile, ...] = ()
    prepare: Text = Field(description="What prepare does with it, and what to know before.")

    @model_validator(mode="after")
    def _check_files(self) -> PublicSet:
        if self.download != bool(self.files):
            raise ValueError("expected files if download is true, and none if it is false")
        if any(file.members for file in self.files) and len(self.files) > 1:
            raise ValueError("expected one archive or several plain files, found both")
        return self

    def terms(self) -> dict[str, str | None]:
        """Return what the manifest and the model card must say of this set."""
        return {
            "name": self.name,
            "title": self.title,
            "home": self.home,
            "licence": self.licence,
            "commercial_use": self.commercial_use,
            "citation": self.citation,
        }


def load_registry(path: Path) -> dict[str, PublicSet]:
    """Read the registry: a mapping ``sets`` from names to what is known of each.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    values = read_yaml(path)
    sets = values.get("sets")
    if set(values) != {"sets"} or not isinstance(sets, dict):
        raise UserError(f"{path}: expected one key `sets` with a mapping of names")
    registry: dict[str, PublicSet] = {}
    problems: list[str] = []
    for name, fields in sets.items():
        if not isinstance(fields, dict):
            problems.append(f"{name}: expected a mapping, found {type(fields).__name__}")
            continue
        try:
            registry[name] = PublicSet.model_validate({**fields, "name": name})
        except ValidationError as error:
            problems += [_explain(str(name), item) for item in error.errors()]
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    return registry


def find_set(registry: Mapping[str, PublicSet], name: str) -> PublicSet:
    """Return the set called ``name``.

    Raises:
        UserError: if there is none, naming those there are.
    """
    if name not in registry:
        near = difflib.get_close_matches(name.lower(), registry, n=1, cutoff=0.5)
        hint = f": did you mean {near[0]}?" if near else ""
        raise UserError(f"expected a public set of {', '.join(registry)}, found {name!r}{hint}")
    return registry[name]


def require_terms(public_set: PublicSet, accepted: Collection[str]) -> None:
    """Refuse a set whose terms are unclear or forbid commercial use until they are accepted.

    Raises:
        UserError: stating the licence and what accepting means.
    """
    name = public_set.name
    if public_set.commercial_use == "allowed" or name in accepted:
        return
    use, promise = {
        "no": ("commercial use is not allowed", "use it for no commercial purpose"),
        "unclear": ("whether commercial use is allowed is unclear", "answer for your use of it"),
    }[public_set.commercial_use]
    raise UserError(
        f"expected --accept-terms {name} before {public_set.title} is fetched, found none. "
        f"Licence: {public_set.licence} So {use}. With --accept-terms {name} you say that you have "
        f"read the terms at {public_set.home or 'its source'}, keep to them, {promise}, and cite: "
        f"{public_set.citation} The terms go into the manifest and the model card."
    )


def download_set(
    public_set: PublicSet, folder: Path, *, accepted: Collection[str] = (), timeout: float = 30.0
) -> Path:
    """Fetch a set into ``folder`` and return the path that its reader takes.

    That is the file where the set is one file, else the folder ``folder/NAME``. What is there
    already, with the right checksum, is not fetched again.

    Raises:
        UserError: if its terms were not accepted, it cannot be fetched by us, or fetching fails.
    """
    require_terms(public_set, accepted)
    name, target = public_set.name, folder / public_set.name
    if not public_set.files:
        raise UserError(
            f"expected a set that can be downloaded, found {name}, which cannot: get it from "
            f"{public_set.home or 'whoever gave it to you'} and give its path as "
            f"{public_set.format}:PATH. {public_set.prepare}"
        )
    for file in public_set.files:
        if not file.members:
            download(file.address, target / file.name, sha256=file.sha256, timeout=timeout)
        elif not _has_members(target, file.members):
            archive = folder / file.name
            download(file.address, archive, sha256=file.sha256, timeout=timeout)
            try:
                unpack(archive, target, file.members)
            finally:
                # Its content is checked by member; kept, a wrong one would be met again next time.
                archive.unlink()
    one = len(public_set.files) == 1 and not public_set.files[0].members
    return target / public_set.files[0].name if one else target


def _has_members(folder: Path, members: Mapping[str, str | None]) -> bool:
    return all(
        (folder / name).is_file() and sha256 in (None, file_hash(folder / name))
        for name, sha256 in members.items()
    )


def unpack(
    archive: Path,
    target: Path,
    members: Mapping[str, str | None],
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    max_ratio: float = MAX_RATIO,
) -> Path:
    """Take ``members`` (plain names, with SHA-256 where known) out of a zip into ``target``.

    A top folder that holds everything, as GitHub's archives have, is left out of the names. Other
    entries stay behind.

    Raises:
        UserError: if the archive is broken, encrypted, larger than the limits, holds a link or a
            path that leads out of it, lacks a member, or a member's checksum is wrong.
    """
    try:
        with zipfile.ZipFile(archive) as zipped, folder_written_whole(target) as scratch:
            entries = _safe_entries(archive, zipped, max_bytes, max_ratio)
            if missing := sorted(set(members) - set(entries)):
                raise UserError(f"expected {', '.join(missing)} in {archive}, found no such file")
            for name, sha256 in members.items():
                # A member's stream ends at the size it states, which was checked above.
                with zipped.open(entries[name]) as source, (scratch / name).open("xb") as sink:
                    shutil.copyfileobj(source, sink)
                found = file_hash(scratch / name)
                if sha256 is not None and found != sha256:
                    raise UserError(
                        f"expected SHA-256 {sha256} of {name} in {archive}, found {found}: the "
                        "file was changed at its source: look at the set's home page before you "
                        "correct configs/sources.yaml"
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(
            f"expected a whole zip archive, found a broken one at {archive} ({error}): remove it "
            "and download again"
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
            f"expected at most {_MAX_ENTRIES} files, {max_bytes} bytes and {max_ratio:g} times the "
            f"packed size in {archive}, found {len(entries)} files of {size} bytes from {packed}: "
            "it may be made to fill the disk; do not unpack it"
        )
    for entry in entries:
        name = entry.filename
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
            raise UserError(f"expected paths inside the archive, found {name!r} in {archive}")
        if stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
            raise UserError(f"expected plain files in {archive}, found {name!r}, a link or locked")
    tops = {entry.filename.partition("/")[:2] for entry in entries}
    top = f"{next(iter(tops))[0]}/" if len(tops) == 1 and next(iter(tops))[1] else ""
    return {entry.filename.removeprefix(top): entry for entry in entries if not entry.is_dir()}


def _explain(name: str, error: Mapping[str, Any]) -> str:
    key = ".".join([name, *map(str, error["loc"])])
    if error["type"] == "missing":
        return f"{key}: expected a value, found none: add it"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key: expected one of {', '.join(PublicSet.model_fields)}"
    if isinstance(error["input"], (dict, PublicSet)):
        return f"{key}: {error['msg']}"
    return f"{key}: {error['msg']}, found {error['input']!r}"
