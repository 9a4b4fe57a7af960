"""Adds exported files to a run whole or not at all: staged, named in the manifest, then moved."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree

from smstune.deploy.export.report import export_report
from smstune.errors import UserError
from smstune.files import file_hash, put_in_place
from smstune.inference.backends.exported import Export, ExportedFile, load_export
from smstune.inference.manifest import (
    EXPORT,
    EXPORT_REPORT,
    EXPORTED_FILES,
    STAGED,
    WEIGHTS,
    Manifest,
    write_manifest,
)
from smstune.reporting.markdown import render_markdown

logger = logging.getLogger(__name__)


def stage(
    run: Path, manifest: Manifest, scratch: Path, files: Mapping[str, ExportedFile]
) -> Manifest:
    """Let a run have ``manifest`` and the exported ``files``, and return the manifest as written.

    ``files`` are described by their names. New ones lie in ``scratch/onnx``, where the description
    and the report are added. The folder is staged where ``run_file`` also looks, so that writing
    the manifest, which names all files, makes the change at once. Moving the files to their final
    paths comes last.
    """
    export = Export(weights_sha256=manifest.sha256[WEIGHTS], files=dict(files))
    (scratch / EXPORT_REPORT).write_text(render_markdown(export_report(run, export)), "utf-8")
    (scratch / EXPORT).write_text(export.model_dump_json(indent=2) + "\n", "utf-8")
    run_hashes = {
        name: digest for name, digest in manifest.sha256.items() if name not in EXPORTED_FILES
    }
    form_hashes = {f"onnx/{name}": file.sha256 for name, file in export.files.items()}
    page_hashes = {name: file_hash(scratch / name) for name in (EXPORT_REPORT, EXPORT)}
    hashes = {**run_hashes, **form_hashes, **page_hashes}
    put_in_place(scratch, run / STAGED)
    manifest = write_manifest(run, manifest.model_copy(update={"sha256": hashes}))
    move_staged(run, manifest)
    return manifest


def move_staged(run: Path, manifest: Manifest) -> None:
    """Move staged files that the manifest names to their final paths and remove the others."""
    for path in (run / STAGED / "onnx").glob("*"):
        name = f"onnx/{path.name}"
        if file_hash(path) == manifest.sha256.get(name):
            (run / "onnx").mkdir(exist_ok=True)
            put_in_place(path, run / name)
    rmtree(run / STAGED, ignore_errors=True)


def exported_before(run: Path, manifest: Manifest) -> dict[str, ExportedFile]:
    """Return the forms of earlier exports whose files are unchanged, by their file names."""
    try:
        export = load_export(run, manifest)
    except UserError as error:
        logger.warning("warning: ignoring earlier exports: %s", error)
        return {}
    unchanged = {}
    for name, file in export.files.items() if export else ():
        path = run / "onnx" / name
        if path.is_file() and file_hash(path) == file.sha256:
            unchanged[name] = file
        else:
            logger.warning("warning: ignoring onnx/%s, which is missing or changed", name)
    return unchanged
