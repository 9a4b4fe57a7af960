"""A run folder to a hub: staged, gated, sent in one commit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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
from smstune.deploy.hub.card import ENGLISH
from smstune.deploy.hub.folder import write_published_folder
from smstune.deploy.hub.gates import check_folder, check_masked, check_terms, list_files
from smstune.errors import UserError
from smstune.inference.fetch import HUB_ERRORS, explain_hub_error, is_repo_id
from smstune.inference.manifest import NAMED

#: Seconds without a byte from the hub, or without one taken, before an attempt is given up.
TIMEOUT = 60.0
_OFFICIAL = "https://huggingface.co"


@contextmanager
def staged(
    run: Path, repo_id: str, *, accept_terms: bool = False, allow_unmasked: bool = False
) -> Iterator[Path]:
    """Give the folder that would be sent as ``repo_id``, written and past all gates.

    Contacts nobody.

    Raises:
        UserError: if the id is none, the run was not evaluated as a card needs it, the data's
            terms are in doubt and not accepted, its messages were not masked and that is not
            allowed, or the folder is not safe to pass on.
    """
    if not is_repo_id(repo_id):
        raise UserError(f"expected the repository as ORG/NAME, found {repo_id!r}")
    with TemporaryDirectory(prefix="smstune-") as scratch:
        folder = write_published_folder(run, Path(scratch) / "published", repo_id)
        manifest = check_folder(folder)
        check_terms(manifest, accepted=accept_terms)
        check_masked(manifest, allowed=allow_unmasked)
        yield folder


def describe(folder: Path, repo_id: str, *, public: bool) -> str:
    """Return what a dry run shows: where it would go, each file with its size, and the card."""
    files = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in
             list_files(folder)]  # fmt: skip
    kind = "public" if public else "private"
    lines = [f"{constants.ENDPOINT}/{repo_id} ({kind}), {len(files)} files:"]
    lines += [f"{size:>14,}  {name}" for name, size in files]
    return "\n".join([*lines, "", (folder / ENGLISH).read_text("utf-8")])


def upload(folder: Path, repo_id: str, *, public: bool = False) -> str:
    """Send ``folder`` to the hub as one commit and return the commit's address.

    The repository is made where it is missing. Weights that arrived in an earlier attempt are not
    sent again, and an unchanged folder makes no commit. Files of the repository that loading would
    read and the folder lacks are deleted in the same commit.

    Raises:
        UserError: if there is no token or it is refused, the repository is another's or has the
            other visibility, or the hub fails, stalls or cannot be reached.
    """
    # Only huggingface.co is known to speak Xet; mirrors and private hubs speak Git LFS.
    if "HF_HUB_DISABLE_XET" not in os.environ and constants.ENDPOINT != _OFFICIAL:
        constants.HF_HUB_DISABLE_XET = True
    set_client_factory(_client)
    try:
        return _send(folder, repo_id, public=public)
    except UserError:
        raise
    except (*HUB_ERRORS, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"expected the hub at {constants.ENDPOINT} to take {repo_id}, found {_explain(error)}. "
            "The same command goes on: weights that arrived are not sent again"
        ) from error
    finally:
        set_client_factory(default_client_factory)


def _explain(error: Exception) -> str:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, HUB_ERRORS):
        # That of an upload: its progress bar is left open, and its line without an end.
        sys.stderr.write("\n")
        return explain_hub_error(error.__cause__)
    if isinstance(error, HUB_ERRORS):
        return explain_hub_error(error)
    if isinstance(error, RuntimeError):
        raise error
    return f"an answer that no hub gives ({error}): check HF_ENDPOINT"


def _send(folder: Path, repo_id: str, *, public: bool) -> str:
    if get_token() is None:
        raise LocalTokenNotFoundError
    api = HfApi(library_name="smstune", library_version=__version__)
    api.whoami()
    there = _existing_files(api, repo_id, public=public)
    if there is None:
        api.create_repo(repo_id, private=not public, exist_ok=True)
    sent = {path.relative_to(folder).as_posix(): path for path in list_files(folder)}
    stale = [
        name
        for name in there or ()
        if name not in sent and (name in NAMED or name.startswith("onnx/"))
    ]
    commit = api.create_commit(
        repo_id,
        [CommitOperationAdd(name, path) for name, path in sent.items()]
        + [CommitOperationDelete(name) for name in stale],
        commit_message=f"Publish with smstune {__version__}",
    )
    return commit.commit_url


def _existing_files(api: HfApi, repo_id: str, *, public: bool) -> list[str] | None:
    """Return the files of the repository, ``None`` where there is none."""
    try:
        info = api.model_info(repo_id, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        return None
    if info.private is public:
        found, wanted = ("private", "public") if info.private else ("public", "private")
        mend = "publish without --public" if public else "publish with --public"
        raise UserError(
            f"expected {repo_id} to be {wanted}, found a {found} repository: {mend}, change it in "
            "the repository's settings, or choose another name"
        )
    return [file.rfilename for file in info.siblings or ()]


def _client() -> httpx2.Client:
    """Return the client that huggingface_hub makes by itself, but one that gives up waiting."""
    client = default_client_factory()
    client.timeout = httpx2.Timeout(TIMEOUT)
    return client
