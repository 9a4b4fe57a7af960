"""What a path, or a name that may be a path or a repository of the hub, means."""

from __future__ import annotations

import re
from pathlib import Path

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: Folders that our commands write to, which do not exist before the first result.
_OUR_FOLDERS = frozenset({"runs", "prepared"})


def user_path(path: str | Path) -> Path:
    """Return a path that a user wrote, with ``~`` expanded.

    A shell expands ``~`` only at the start of a word, so not in ``training.output_dir=~/runs``.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        # No user has this name, so it is the name of a file.
        return Path(path)


def is_repo_id(name: str | Path) -> bool:
    """Return whether ``name`` has the form ``ORG/NAME`` of a hub; a ``Path`` never has."""
    return isinstance(name, str) and _REPO_ID.fullmatch(name) is not None


def local_path(name: str | Path) -> Path | None:
    """Return the path that ``name`` means, ``None`` if it is the id ``ORG/NAME`` of a repository.

    It is a path if its first folder exists or is one that our commands write to: ``runs/typo``
    is a mistyped path, not a repository of an organisation called runs.
    """
    path = user_path(name)
    is_path = not is_repo_id(name) or path.parent.name in _OUR_FOLDERS or path.parent.is_dir()
    return path if is_path else None
