"""Publishes a run folder to a hub: staged, checked, and sent in one commit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
    set_client_factory,
)
from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils._http import default_client_factory

from smstune import __version__
from smstune.deploy.hub.card import CHINESE, ENGLISH
from smstune.deploy.hub.folder import write_published_folder
from smstune.deploy.hub.gates import check_folder, check_masked, check_terms, list_files
from smstune.errors import UserError
from smstune.files import temporary_folder
from smstune.inference.hub import HUB_ERRORS, explain_hub_error
from smstune.inference.manifest import NAMED
from smstune.inference.memory.folder import MEMORY
from smstune.language import Message, reader_language, translated
from smstune.paths import is_repo_id

#: Seconds without receiving or sending a byte before an attempt is given up.
TIMEOUT = 60.0
_OFFICIAL = "https://huggingface.co"
#: What the client raises for a hub that fails, or for an answer that is not a hub's.
_FAILURES: tuple[type[Exception], ...] = (*HUB_ERRORS, RuntimeError, ValueError, KeyError)


@contextmanager
def staged(
    run: Path,
    repo_id: str,
    *,
    accept_terms: bool = False,
    allow_unmasked: bool = False,
    with_memory: bool = False,
) -> Iterator[Path]:
    """Give the folder that would be sent as ``repo_id``, after all checks; needs no network.

    Without ``with_memory`` what the run has learned from reports is not in it.

    Raises:
        UserError: if the id is invalid, the run lacks the evaluation that a card needs, the data's
            terms are in doubt and not accepted, its messages were not masked and that is not
            allowed, or the folder is not safe to publish.
    """
    if not is_repo_id(repo_id):
        raise UserError("expected the repository as ORG/NAME, found {repo_id!r}", repo_id=repo_id)
    with temporary_folder() as scratch:
        folder = write_published_folder(
            run, scratch / "published", repo_id, with_memory=with_memory
        )
        manifest = check_folder(folder)
        check_terms(manifest, accepted=accept_terms)
        check_masked(manifest, allowed=allow_unmasked)
        yield folder


def describe(folder: Path, repo_id: str, *, public: bool) -> str:
    """Return the text of a dry run: the address, each file with its size, and the card."""
    files = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in
             list_files(folder)]  # fmt: skip
    title = Message(
        "{endpoint}/{repo_id} ({visibility}), {n_files} files:",
        endpoint=constants.ENDPOINT,
        repo_id=repo_id,
        visibility=Message("public") if public else Message("private"),
        n_files=len(files),
    )
    lines = [translated(title)]
    lines += [f"{size:>14,}  {name}" for name, size in files]
    card = CHINESE if reader_language() == "zh" else ENGLISH
    return "\n".join([*lines, "", (folder / card).read_text("utf-8")])


def upload(folder: Path, repo_id: str, *, public: bool = False) -> str:
    """Send ``folder`` to the hub as one commit and return the commit's URL.

    The repository is created if it does not exist. Weights that arrived in an earlier attempt are
    not sent again, and an unchanged folder makes no commit. The commit also deletes files of the
    repository that loading would read but the folder does not have.

    Raises:
        UserError: if there is no token or it is refused, the repository belongs to someone else or
            has the other visibility, or the hub fails, stalls or cannot be reached.
    """
    # Only huggingface.co is known to support Xet; mirrors and private hubs use Git LFS.
    if "HF_HUB_DISABLE_XET" not in os.environ and constants.ENDPOINT != _OFFICIAL:
        constants.HF_HUB_DISABLE_XET = True
    set_client_factory(_client)
    try:
        return _send(folder, repo_id, public=public)
    except UserError:
        raise
    except _FAILURES as error:
        raise UserError(
            "the hub at {endpoint} did not accept {repo_id}: {problem}. Run the same command "
            "again: weights that arrived are not sent again",
            endpoint=constants.ENDPOINT,
            repo_id=repo_id,
            problem=_explain(error),
        ) from error
    finally:
        set_client_factory(default_client_factory)


def _explain(error: Exception) -> Message:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, HUB_ERRORS):
        # From an upload, whose progress bar has not ended its line.
        sys.stderr.write("\n")
        return explain_hub_error(error.__cause__)
    if isinstance(error, HUB_ERRORS):
        return explain_hub_error(error)
    if isinstance(error, RuntimeError):
        raise error
    return Message("the answer is not that of a hub ({error}): check HF_ENDPOINT", error=error)


def _send(folder: Path, repo_id: str, *, public: bool) -> str:
    if get_token() is None:
        raise LocalTokenNotFoundError
    api = HfApi(library_name="smstune", library_version=__version__)
    api.whoami()
    existing = _existing_files(api, repo_id, public=public)
    if existing is None:
        api.create_repo(repo_id, private=not public, exist_ok=True)
    sent = {path.relative_to(folder).as_posix(): path for path in list_files(folder)}
    stale = [
        name
        for name in existing or ()
        if name not in sent and (name in NAMED or name.startswith(("onnx/", f"{MEMORY}/")))
    ]
    commit = api.create_commit(
        repo_id,
        [CommitOperationAdd(name, path) for name, path in sent.items()]
        + [CommitOperationDelete(name) for name in stale],
        commit_message=f"Publish with smstune {__version__}",
    )
    return commit.commit_url


def _existing_files(api: HfApi, repo_id: str, *, public: bool) -> list[str] | None:
    """Return the files of the repository, ``None`` if it does not exist."""
    try:
        repository = api.model_info(repo_id, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        return None
    if repository.private is public:
        if public:
            raise UserError(
                "expected {repo_id} to be public, found a private repository: publish without "
                "--public, change it in the repository's settings, or choose another name",
                repo_id=repo_id,
            )
        raise UserError(
            "expected {repo_id} to be private, found a public repository: publish with --public, "
            "change it in the repository's settings, or choose another name",
            repo_id=repo_id,
        )
    return [file.rfilename for file in repository.siblings or ()]


def _client() -> httpx2.Client:
    """Return huggingface_hub's default client with a timeout."""
    client = default_client_factory()
    client.timeout = httpx2.Timeout(TIMEOUT)
    return client
