"""A run folder by its name: a local path, or a repository of the hub, fetched."""

from __future__ import annotations

from pathlib import Path

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice
from smstune.errors import UserError
from smstune.inference.backends.exported import EXPORTED
from smstune.inference.backends.pick import pick_backend, pick_run_device
from smstune.inference.manifest import WEIGHTS, Manifest
from smstune.paths import local_path


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
                f"expected a repository of the hub for revision {revision}, found the local path "
                f"{path_or_id}: leave the revision out"
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
