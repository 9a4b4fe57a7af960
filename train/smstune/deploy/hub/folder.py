"""Writes the published folder: the files that users of a run need, and its card."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from shutil import copyfile

from smstune.deploy.hub.card import write_card
from smstune.deploy.hub.card_facts import published_data
from smstune.errors import UserError
from smstune.files import file_hash, folder_written_whole
from smstune.inference.backends.exported import load_export
from smstune.inference.manifest import (
    EXPORT,
    FORMS,
    NAMED,
    Manifest,
    mismatch,
    run_file,
    write_manifest,
)
from smstune.inference.memory.entries import FalseAlarms
from smstune.inference.memory.folder import MEMORY
from smstune.inference.memory.store import open_generation, write_generation
from smstune.inference.run import load_run
from smstune.language import Message
from smstune.paths import is_repo_id

logger = logging.getLogger(__name__)


def write_published_folder(
    run: Path, target: Path, repository: str | None = None, *, with_memory: bool = False
) -> Path:
    """Write the publishable files of a run into the new folder ``target`` and return it.

    They are model, tokenizer, labels, manifest (with local paths reduced to folder names), the card
    in two languages, and ``onnx/`` if the run was exported: only files named by the manifest and
    export.json, checked against their hashes. The folder loads with plain transformers and with
    ``SmsClassifier``. ``repository`` is its name in the card, by default the folder's name.
    ``with_memory`` adds the run's memory, without the names of those who reported.

    Raises:
        UserError: if files of the run do not match its manifest, it lacks the evaluation that a
            card needs, or ``target`` has content.
    """
    manifest = load_run(run).manifest
    with folder_written_whole(target) as scratch:
        for name, file in _files(run, manifest).items():
            if file.is_symlink():
                raise UserError(
                    "{name} is a link to {target}, and links are not published: copy the folder "
                    "with cp -rL and publish the copy",
                    name=name,
                    target=file.resolve(),
                )
            (scratch / name).parent.mkdir(exist_ok=True)
            copyfile(file, scratch / name)
        published = write_manifest(scratch, _published(manifest))
        if with_memory:
            _copy_memory(run, scratch)
        write_card(scratch, run, published, repository or target.name)
    return target


def _copy_memory(run: Path, folder: Path) -> None:
    """Write a run's memory, whole and as its first generation, without names and local paths.

    Raises:
        UserError: if the run has none, or it is broken.
    """
    generation = open_generation(run)
    if generation is None:
        raise UserError(
            "{run} has no memory: publish without --with-memory, or `smstune learn` first", run=run
        )
    entries = {
        number: entry.model_copy(
            update={"reporter": None, "false_alarms": _without_path(entry.false_alarms)}
        )
        for number, entry in enumerate(generation.entries())
    }
    (folder / MEMORY).mkdir()
    published = generation.with_entries(entries, generation.index, generation.campaigns)
    write_generation(folder, dataclasses.replace(published, number=0))
    logger.warning(
        "warning: the memory is published: much of the wording of the reported messages can be "
        "rebuilt from it, see docs/memory.md"
    )


def _without_path(alarms: FalseAlarms | None) -> FalseAlarms | None:
    if alarms is None:
        return None
    return alarms.model_copy(update={"source": Path(alarms.source).name})


def _files(run: Path, manifest: Manifest) -> dict[str, Path]:
    """Return the files that the manifest and export.json name, by name, after checking them.

    Raises:
        UserError: if a file is missing or does not match its hash.
    """
    export = load_export(run, manifest)
    forms = {f"onnx/{name}": file for name, file in (export.files if export else {}).items()}
    files = {}
    for name in NAMED:
        file = run_file(run, manifest, name)
        if file is None or (name in FORMS and name not in forms):
            continue
        if name in forms and file_hash(file) != forms[name].sha256:
            raise mismatch(
                run,
                Message("{file} is not the file that {manifest} names", file=name, manifest=EXPORT),
            )
        files[name] = file
    gone = [name for name in forms if name not in files]
    if gone:
        raise mismatch(
            run,
            Message(
                "{file} names {names}, and the manifest does not",
                file=EXPORT,
                names=", ".join(gone),
            ),
        )
    return files


def _published(manifest: Manifest) -> Manifest:
    """Return the manifest without local paths, and without hashes, which change with it."""
    pretraining = manifest.pretraining
    if pretraining is not None:
        base = _without_local_path(pretraining.base_model)
        pretraining = pretraining.model_copy(update={"base_model": base})
    return manifest.model_copy(
        update={
            "data": published_data(manifest),
            "base_model": _without_local_path(manifest.base_model),
            "pretraining": pretraining,
            "sha256": {},
            "checksum": None,
        }
    )


def _without_local_path(base_model: dict[str, str | None]) -> dict[str, str | None]:
    """Return a base model that is named by its id, or by the name of its folder alone."""
    origin = base_model["name_or_path"]
    if origin is not None and (not is_repo_id(origin) or Path(origin).exists()):
        return {**base_model, "name_or_path": Path(origin).name}
    return base_model
