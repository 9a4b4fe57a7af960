"""One rule for personal information, with examples that a test reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from smstune.text.pii.placeholders import PiiSpan


def _always(match: re.Match[str]) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """Finds one kind of information in folded text.

    ``hint`` is a fast pattern that every text with a find matches. The find is the last group of
    ``pattern``, or the whole match if it has no groups, and counts only if ``check`` returns true.
    The last group of ``further`` is one more find directly after another. ``finds`` pairs messages
    with what the rule finds in them; in the messages of ``leaves`` it finds nothing.
    """

    kind: str
    hint: re.Pattern[str]
    pattern: str
    finds: tuple[tuple[str, str], ...]
    leaves: tuple[str, ...]
    check: Callable[[re.Match[str]], bool] = _always
    further: str | None = None

    def spans(self, text: str) -> Iterator[PiiSpan]:
        """Yield what the rule finds in folded ``text``, in order of position."""
        if not self.hint.search(text):
            return
        position = 0
        while match := self._first.search(text, position):
            position = match.end()
            if not self.check(match):
                continue
            # Words after one find may be those before the next: 1234是验证码5678.
            start, position = match.span(match.lastindex or 0)
            yield PiiSpan(start, position, self.kind)
            while self._next and (match := self._next.match(text, position)):
                start, position = match.span(match.lastindex or 0)
                yield PiiSpan(start, position, self.kind)

    # Compiled for the first message with a hint: all of them take a twentieth of a first answer.
    @cached_property
    def _first(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    @cached_property
    def _next(self) -> re.Pattern[str] | None:
        return None if self.further is None else re.compile(self.further)


def alone(pattern: str) -> str:
    """Return ``pattern`` with the condition that a match has no digit beside it."""
    return f"(?<![0-9])({pattern})(?![0-9])"
