"""A run or an encoder by its name: a local path, or a repository of the hub."""

from __future__ import annotations

from pathlib import Path

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice
from smstune.errors import UserError
from smstune.inference.backends.exported import EXPORTED
from smstune.inference.backends.pick import pick_backend, pick_run_device
from smstune.inference.manifest import MANIFEST, PRETRAINING, WEIGHTS, Manifest
from smstune.inference.run import load_run
from smstune.paths import local_path


def require_encoder(name_or_path: str, *, revision: str | None = None) -> None:
    """Check, without loading anything heavy, that an encoder's folder exists or the hub answers.

    A folder may be a run's: then its files must be those that its manifest names, and its
    normaliser this library's.

    Raises:
        UserError: if there is no folder at the path, the hub does not answer for the id, or a run
            is unfinished, damaged or of another normaliser.
    """
    path = local_path(name_or_path)
    if path is not None and path.is_dir():
        # A run that was stopped has checkpoints and no manifest, which load_run explains.
        is_run = (path / MANIFEST).exists() or (path / "checkpoints").is_dir()
        if is_run and not (path / PRETRAINING).is_file():
            load_run(path)
        return
    # Some old ids, such as bert-base-chinese, have no organisation.
    if path is not None and path.name != name_or_path:
        raise UserError(
            "expected an encoder's folder at {path}, found none: check the path", path=path
        )
    from smstune.inference.hub import check_run_versions, use_hub

    use_hub(name_or_path, "config.json", revision=revision)
    check_run_versions(name_or_path, revision=revision)


def local_folder(
    path_or_id: str | Path,
    revision: str | None = None,
    *,
    backend: BackendChoice = "auto",
    device: DeviceChoice = "auto",
    precision: PrecisionChoice = "auto",
    with_weights: bool = False,
) -> Path:
    """Return a run folder on this machine: the path itself, or a hub repository's files, cached.

    A folder on this machine goes before a repository or an organisation of the same name. Only the
    files that this backend reads are fetched, and the torch weights if ``with_weights``, all of one
    commit: ``revision`` (branch, tag or commit) or the head of main. ``HF_ENDPOINT``, ``HF_TOKEN``
    and ``HF_HUB_OFFLINE`` hold as for any hub client.

    Raises:
        UserError: if the repository or its revision is not there, cannot be reached, or holds no
            run; if a local folder is given with a revision.
    """
    path = local_path(path_or_id)
    if path is not None:
        if revision is not None:
            raise UserError(
                "expected a repository of the hub for revision {revision}, found the local path "
                "{path_or_id}: leave the revision out",
                revision=revision,
                path_or_id=path_or_id,
            )
        return path
    from smstune.inference.hub import fetch_run

    def heavy_files(folder: Path, manifest: Manifest) -> set[str]:
        device_name = pick_run_device(device)
        name, number_format = pick_backend(
            folder, manifest, device_name, backend, precision, has_weights=True
        )
        chosen = WEIGHTS if name == "torch" else f"onnx/{EXPORTED[number_format]}"
        return {chosen, WEIGHTS} if with_weights else {chosen}

    return fetch_run(str(path_or_id), revision, heavy_files)
