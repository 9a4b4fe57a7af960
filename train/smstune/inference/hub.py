"""A repository of the hub: fetched, and what went wrong with it in plain words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from huggingface_hub import (
    constants,
    get_session,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
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
from smstune.inference.manifest import (
    FORMS,
    MANIFEST,
    NAMED,
    WEIGHTS,
    Manifest,
    load_manifest,
)
from smstune.inference.memory.folder import MEMORY
from smstune.inference.run import check_versions
from smstune.language import Message

logger = logging.getLogger(__name__)

#: From the folder with the small files of a run, and its manifest, to the large files it needs.
HeavyFiles = Callable[[Path, Manifest], Collection[str]]

#: The base class of all that the hub's HTTP client raises; which library it is of changes with the
#: version of huggingface_hub.
_CLIENT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
#: What the hub client raises that is no bug of ours.
HUB_ERRORS: tuple[type[Exception], ...] = (
    HFValidationError,
    EntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    _CLIENT_ERROR,
)


def use_hub(
    repo_id: str, file_name: str, *, revision: str | None = None, repo_type: str = "model"
) -> None:
    """Ask the hub once whether it answers; if it does not, use only its cache from here on.

    The hub's client asks six times for each file that it lacks, which takes half a minute.

    Raises:
        UserError: if the hub does not answer, and the cache lacks this file of the repository.
    """
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    # The client of huggingface_hub before 1.0 raises OSError.
    except (_CLIENT_ERROR, OSError) as error:
        cached = try_to_load_from_cache(repo_id, file_name, revision=revision, repo_type=repo_type)
        no_answer = Message(
            "the hub at {endpoint} does not answer ({cause})",
            endpoint=constants.ENDPOINT,
            cause=_cause(error),
        )
        if not isinstance(cached, str):
            raise UserError(
                "found no folder at {repo_id}, and {no_answer}: check the name, set HF_ENDPOINT "
                "to a mirror such as https://hf-mirror.com, or download it and give its path",
                repo_id=repo_id,
                no_answer=no_answer,
            ) from error
        logger.warning("warning: %s: %s is read from its cache", no_answer, repo_id)
        constants.HF_HUB_OFFLINE = True


def check_run_versions(repo_id: str, *, revision: str | None = None) -> None:
    """Check the versions of a repository that holds a run, before an encoder is taken from it.

    Raises:
        UserError: if another version of the normaliser trained the run, or its manifest is damaged.
    """
    try:
        file = Path(hf_hub_download(repo_id, MANIFEST, revision=revision))
    except HUB_ERRORS:
        # It holds no run. What else is wrong with it shows when the encoder is loaded.
        return
    # Other tools write files of this name, too.
    if b'"normalizer_version"' in file.read_bytes():
        check_versions(Path(repo_id), load_manifest(file.parent))


def fetch_run(repo_id: str, revision: str | None, heavy_files: HeavyFiles) -> Path:
    """Return the folder with the cached files of a run, all of one commit of the hub.

    Of the weights and the exported forms only ``heavy_files`` are fetched, which are chosen once
    the others are there.

    Raises:
        UserError: if the repository or its revision is not there, cannot be reached, or holds no
            run.
    """
    use_hub(repo_id, MANIFEST, revision=revision)
    try:
        # First the small file that says whether this is a run at all, and of which commit.
        commit = Path(hf_hub_download(repo_id, MANIFEST, revision=revision)).parent
        manifest = load_manifest(commit)
        # An earlier version's manifest does not name all that is read.
        names = set(NAMED if manifest.checksum is None else manifest.sha256)
        light_names = {MANIFEST, *names} - {WEIGHTS, *FORMS}
        # The one folder that the manifest does not name.
        folder = _snapshot(repo_id, commit.name, {*light_names, f"{MEMORY}/*"})
        return _snapshot(repo_id, commit.name, heavy_files(folder, manifest))
    except HUB_ERRORS as error:
        raise UserError(
            "expected a run folder or a repository of the hub at {repo_id!r}, found no such "
            "folder, and at {endpoint}: {problem}",
            repo_id=repo_id,
            endpoint=constants.ENDPOINT,
            problem=explain_hub_error(error),
        ) from error


def _snapshot(repo_id: str, commit: str, names: Collection[str]) -> Path:
    return Path(snapshot_download(repo_id, revision=commit, allow_patterns=sorted(names)))


def explain_hub_error(error: Exception) -> Message:
    """Say in one line what went wrong with the hub and what a user can do about it."""
    if isinstance(error, LocalTokenNotFoundError):
        return Message("no token: run `hf auth login` or set HF_TOKEN")
    if isinstance(error, OfflineModeIsEnabled):
        return Message("HF_HUB_OFFLINE is set, so it was not asked: unset it")
    if isinstance(error, LocalEntryNotFoundError):
        if constants.HF_HUB_OFFLINE:
            return Message(
                "HF_HUB_OFFLINE is set, and the files are not in the cache: fetch them first"
            )
        return Message(
            "no answer ({cause}), and nothing in the cache: check HF_ENDPOINT", cause=_cause(error)
        )
    if isinstance(error, RevisionNotFoundError):
        return Message("no such revision: check its name")
    if isinstance(error, RepositoryNotFoundError):
        return Message(
            "no such repository, or a private one: check the name, HF_ENDPOINT and HF_TOKEN"
        )
    if isinstance(error, EntryNotFoundError):
        return Message("a repository without manifest.json, so none that `smstune publish` wrote")
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error)
    if isinstance(error, _CLIENT_ERROR):
        if "Timeout" in type(error).__name__:
            return Message("no answer in time: try again later, or check HF_ENDPOINT")
        return Message(
            "the connection failed ({cause}): check HF_ENDPOINT and try again",
            cause=_cause(error),
        )
    return Message(_cause(error))


def _explain_status(error: HfHubHTTPError) -> Message:
    status, said = error.response.status_code, error.server_message
    reason = ", ".join(filter(None, [str(status), " ".join((said or "").split())[:200]]))
    if status == 401:
        return Message(
            "the token was refused (status {reason}): run `hf auth login` or correct HF_TOKEN",
            reason=reason,
        )
    if status == 403:
        return Message(
            "the token has no right to this (status {reason}): it needs the role write, and the "
            "repository must be yours or your organisation's",
            reason=reason,
        )
    if status == 429 or status >= 500:
        return Message("it fails (status {reason}): try again later", reason=reason)
    return Message("it refused (status {reason})", reason=reason)


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
