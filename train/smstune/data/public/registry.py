"""The registry of public data sets: addresses, terms, and how to download them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from smstune.config.schema import Section
from smstune.config.shipped import shipped_configs
from smstune.config.wording import explain
from smstune.config.yaml_files import read_yaml
from smstune.data.public.archive import unpack
from smstune.data.public.download import download, require_safe_address
from smstune.data.readers.catalogue import SOURCES
from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.origin import CommercialUse, Terms
from smstune.language import Message, joined


def _safe_address(address: str) -> str:
    require_safe_address(address)
    return address


def _known_format(name: str) -> str:
    if name not in SOURCES:
        raise ValueError(Message("expected one of {formats}", formats=", ".join(SOURCES)))
    return name


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
    """A public data set, its terms and its files."""

    name: SetName
    title: Text
    home: Text | None = Field(description="The page that describes it; null where there is none.")
    format: Annotated[str, AfterValidator(_known_format)] = Field(description="Name of a reader.")
    labels: Path | None = Field(None, description="A label file that fits.")
    licence: Text = Field(description="As its authors state it.")
    commercial_use: CommercialUse
    citation: Text
    download: bool = Field(description="False: by local path only.")
    files: tuple[SetFile, ...] = ()
    prepare: Text = Field(description="What prepare does with it, and what to know before.")

    @model_validator(mode="after")
    def _check_files(self) -> PublicSet:
        if self.download != bool(self.files):
            raise ValueError(Message("expected files if download is true, and none if it is false"))
        if any(file.members for file in self.files) and len(self.files) > 1:
            raise ValueError(Message("expected one archive or several plain files, found both"))
        return self

    def terms(self) -> Terms:
        """Return what the manifest and the model card must say of this set."""
        return Terms(
            name=self.name,
            title=self.title,
            home=self.home,
            licence=self.licence,
            commercial_use=self.commercial_use,
            citation=self.citation,
        )


def terms_of(sources: Iterable[str]) -> list[Terms]:
    """Return the terms of the shipped registry's sets among ``sources``, in their order."""
    registry = load_registry(shipped_configs() / "sources.yaml")
    return [registry[source].terms() for source in sources if source in registry]


def load_registry(path: Path) -> dict[str, PublicSet]:
    """Return the public sets of a registry file by name.

    The file has one key, ``sets``, a mapping from names to the fields of ``PublicSet``.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    content = read_yaml(path)
    sets = content.get("sets")
    if set(content) != {"sets"} or not isinstance(sets, dict):
        raise UserError("{path}: expected one key `sets` with a mapping of names", path=path)
    registry: dict[str, PublicSet] = {}
    problems: list[Message] = []
    for name, fields in sets.items():
        if not isinstance(fields, dict):
            problems.append(
                Message(
                    "{name}: expected a mapping, found {kind}",
                    name=name,
                    kind=type(fields).__name__,
                )
            )
            continue
        try:
            registry[name] = PublicSet.model_validate({**fields, "name": name})
        except ValidationError as error:
            problems.append(explain(error, PublicSet, [str(name)]))
    if problems:
        raise UserError("{path}: {problems}", path=path, problems=joined(problems, "; "))
    return registry


def find_set(registry: Mapping[str, PublicSet], name: str) -> PublicSet:
    """Return the set called ``name``.

    Raises:
        UserError: if there is none, with the names that exist.
    """
    if name not in registry:
        near = difflib.get_close_matches(name.lower(), registry, n=1, cutoff=0.5)
        names = ", ".join(registry)
        if near:
            raise UserError(
                "unknown public set {name!r}: use one of {names}; did you mean {near}?",
                name=name,
                names=names,
                near=near[0],
            )
        raise UserError("unknown public set {name!r}: use one of {names}", name=name, names=names)
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
        "no": (
            Message("commercial use is not allowed"),
            Message("use it for no commercial purpose"),
        ),
        "unclear": (
            Message("whether commercial use is allowed is unclear"),
            Message("take responsibility for your use of it"),
        ),
    }[public_set.commercial_use]
    raise UserError(
        "give --accept-terms {name} to download {title}. Licence: {licence} So {use}. With "
        "--accept-terms {name} you say that you have read the terms at {home}, keep to them, "
        "{promise}, and cite: {citation} The terms go into the manifest and the model card.",
        name=name,
        title=public_set.title,
        licence=public_set.licence,
        use=use,
        home=public_set.home or Message("its source"),
        promise=promise,
        citation=public_set.citation,
    )


def download_set(
    public_set: PublicSet, folder: Path, *, accepted: Collection[str] = (), timeout: float = 30.0
) -> Path:
    """Download a set into ``folder`` and return the path that its reader takes.

    That is the file where the set is one file, else the folder ``folder/NAME``. Files that exist
    and have the right checksum are not downloaded again.

    Raises:
        UserError: if its terms were not accepted, it has no files to download, or a download fails.
    """
    require_terms(public_set, accepted)
    name, target = public_set.name, folder / public_set.name
    if not public_set.files:
        raise UserError(
            "{name} cannot be downloaded by this command: get it from {home} and give its path "
            "as {format}:PATH. {note}",
            name=name,
            home=public_set.home or Message("its owner"),
            format=public_set.format,
            note=public_set.prepare,
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
                # The members have their own checksums, and a bad archive must not be reused by the
                # next run.
                archive.unlink()
    is_one_file = len(public_set.files) == 1 and not public_set.files[0].members
    return target / public_set.files[0].name if is_one_file else target


def _has_members(folder: Path, members: Mapping[str, str | None]) -> bool:
    return all(
        (folder / name).is_file() and sha256 in (None, file_hash(folder / name))
        for name, sha256 in members.items()
    )
