"""A run folder by its name: a local path, or a repository of the hub, fetched."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from smstune.errors import UserError
from smstune.inference.manifest import MANIFEST, NAMED, load_manifest

#: What the hub client raises that is no bug of ours.
HUB_ERRORS = (
    HfHubHTTPError,
    HFValidationError,
    EntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    httpx2.HTTPError,
)
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_repo_id(name: str | Path) -> bool:
    """Return whether ``name`` reads as ``ORG/NAME`` of a hub; a ``Path`` never does."""
    return isinstance(name, str) and _REPO_ID.fullmatch(name) is not None


def local_folder(path_or_id: str | Path, revision: str | None = None) -> Path:
    """Return a run folder on this machine: the path itself, or a hub repository's files, cached.

    A folder on this machine goes before a repository or an organisation of the same name. Only the
    files that loading reads are fetched, all of one commit: ``revision`` (branch, tag or commit)
    or the head of main. ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` hold as for any
    hub client.

    Raises:
        UserError: if the repository or its revision is not there, cannot be reached, or holds no
            run; if a local folder is given with a revision.
    """
    # runs/typo beside runs/mine is a mistyped path, no repository of an organisation called runs.
    if not is_repo_id(path_or_id) or Path(path_or_id).parent.is_dir():
        if revision is not None:
            raise UserError(
                f"expected a repository of the hub for revision {revision}, found the local path "
                f"{path_or_id}: leave the revision out"
            )
        return Path(path_or_id)
    repo_id = str(path_or_id)
    try:
        # First the small file that says whether this is a run at all, and of which commit.
        commit = Path(hf_hub_download(repo_id, MANIFEST, revision=revision)).parent
        manifest = load_manifest(commit)
        # An earlier version's manifest does not name all that is read.
        names = NAMED if manifest.checksum is None else manifest.sha256
        patterns = [MANIFEST, *names]
        return Path(snapshot_download(repo_id, revision=commit.name, allow_patterns=patterns))
    except HUB_ERRORS as error:
        raise UserError(
            f"expected a run folder or a repository of the hub at {repo_id!r}, found no such "
            f"folder, and at {constants.ENDPOINT}: {explain_hub_error(error)}"
        ) from error


def explain_hub_error(error: Exception) -> str:
    """Say in one line what went wrong with the hub and what a user can do about it."""
    if isinstance(error, LocalTokenNotFoundError):
        return "no token: run `hf auth login` or set HF_TOKEN"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so it was not asked: unset it"
    if isinstance(error, LocalEntryNotFoundError):
        if constants.is_offline_mode():
            return "HF_HUB_OFFLINE is set, and the files are not in the cache: fetch them first"
        return f"no answer ({_cause(error)}), and nothing in the cache: check HF_ENDPOINT"
    if isinstance(error, RevisionNotFoundError):
        return "no such revision: check its name"
    if isinstance(error, RepositoryNotFoundError):
        return "no such repository, or a private one: check the name, HF_ENDPOINT and HF_TOKEN"
    if isinstance(error, EntryNotFoundError):
        return "a repository without manifest.json, so none that `smstune publish` wrote"
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error)
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time: try again later, or check HF_ENDPOINT"
    if isinstance(error, httpx2.HTTPError):
        return f"the connection failed ({_cause(error)}): check HF_ENDPOINT and try again"
    return _cause(error)


def _explain_status(error: HfHubHTTPError) -> str:
    status, said = error.response.status_code, error.server_message
    reason = f"status {status}" + (f", {' '.join(said.split())[:200]}" if said else "")
    if status == 401:
        return f"the token was refused ({reason}): run `hf auth login` or mend HF_TOKEN"
    if status == 403:
        return (
            f"the token has no right to this ({reason}): it needs the role write, and the "
            "repository must be yours or your organisation's"
        )
    if status == 429 or status >= 500:
        return f"it fails ({reason}): try again later"
    return f"it refused ({reason})"


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
