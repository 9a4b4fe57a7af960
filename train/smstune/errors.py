"""The errors that end a command with a status of their own."""

from __future__ import annotations


class UserError(ValueError):
    """An error the user can mend: says what was expected, what was found and what to do."""


class GateError(Exception):
    """A run that does not keep a gate of its configuration: says which, and what was found."""


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal after all work was saved; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number
