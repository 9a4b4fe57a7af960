"""Errors that end a command with their own exit status."""

from __future__ import annotations


class UserError(ValueError):
    """An error that the user can fix; the message names the problem and the fix."""


class GateError(Exception):
    """A required score or limit was missed; the message names it and the actual value."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped the command after all work was saved; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def how_to_install(extra: str) -> str:
    """Return how to install an extra of smstune, which is not on a package index yet."""
    return (
        f"in a checkout run pip install -c constraints.txt -e '.[{extra}]', with a wheel "
        f"pip install 'smstune-VERSION-py3-none-any.whl[{extra}]'"
    )
