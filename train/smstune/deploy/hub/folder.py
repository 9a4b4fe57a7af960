"""The published folder: what users of a run need, its card, and nothing else."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile

from smstune.deploy.hub.card import write_card
from smstune.deploy.hub.card_facts import published_data
from smstune.files import file_hash, folder_written_whole
from smstune.inference.fetch import is_repo_id
from smstune.inference.linear import LINEAR
from smstune.inference.manifest import HASHED, Manifest
from smstune.inference.run import load_artifact

#: Copied where the run has them, besides the files that every run has.
_OTHERS = (
    LINEAR,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)


def write_published_folder(run: Path, target: Path, name: str | None = None) -> Path:
    """Write what is published of a run into the new folder ``target`` and return it.

    Model, tokenizer, labels, manifest (local paths reduced to folder names, the hashes of the
    exported files added), card in two languages, and ``onnx/`` where the run was exported. Loads
    with plain transformers and with ``SmsClassifier``. ``name`` is what the card calls it: a
    repository's id, by default the folder's name.

    Raises:
        UserError: if the parts of the run do not belong together, it was not evaluated as a card
            needs it, or ``target`` has content.
    """
    manifest = load_artifact(run).manifest
    with folder_written_whole(target) as scratch:
        for part in (*HASHED, *_OTHERS):
            if (run / part).is_file():
                copyfile(run / part, scratch / part)
        exported = _copy_export(run, scratch)
        published = _published(manifest, exported)
        (scratch / "manifest.json").write_text(published.model_dump_json(indent=2) + "\n", "utf-8")
        write_card(scratch, run, published, name or target.name)
    return target


def _copy_export(run: Path, folder: Path) -> dict[str, str]:
    """Copy ``onnx/`` of a run that was exported; return the SHA-256 of each file by its name."""
    if not (run / "onnx" / "export.json").is_file():
        return {}
    (folder / "onnx").mkdir()
    hashes = {}
    for path in sorted((run / "onnx").iterdir()):
        if path.is_file():
            copyfile(path, folder / "onnx" / path.name)
            hashes[f"onnx/{path.name}"] = file_hash(folder / "onnx" / path.name)
    return hashes


def _published(manifest: Manifest, exported: dict[str, str]) -> Manifest:
    base = manifest.base_model
    origin = base["name_or_path"]
    if origin is not None and (not is_repo_id(origin) or Path(origin).exists()):
        base = {**base, "name_or_path": Path(origin).name}
    return manifest.model_copy(
        update={
            "data": published_data(manifest),
            "base_model": base,
            "sha256": {**manifest.sha256, **exported},
        }
    )
