"""The errors that end a command with a status of their own."""

from __future__ import annotations


class UserError(ValueError):
    """An error the user can fix: names the problem, what was found, and the fix."""


class GateError(Exception):
    """A required score or limit that was missed: says which, and what was found."""


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal after all work was saved; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def how_to_install(extra: str) -> str:
    """Return what installs an extra of smstune, which is on no package index yet."""
    return (
        f"in a checkout run pip install -c constraints.txt -e '.[{extra}]', with a wheel "
        f"pip install 'smstune-VERSION-py3-none-any.whl[{extra}]'"
    )
