"""One rule for personal information, with examples that a test reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from smstune.text.pii.placeholders import PiiSpan


def _always(match: re.Match[str]) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """What one kind of information looks like in folded text.

    ``hint`` is a pattern that is fast to look for and without which there is no find. The last
    group of ``pattern``, or the whole where it has none, is the find, if ``check`` says so.
    ``finds`` pairs messages with what the rule finds in them, ``leaves`` are messages in which it
    finds nothing.
    """

    kind: str
    hint: re.Pattern[str]
    pattern: re.Pattern[str]
    finds: tuple[tuple[str, str], ...]
    leaves: tuple[str, ...]
    check: Callable[[re.Match[str]], bool] = _always

    def spans(self, text: str) -> Iterator[PiiSpan]:
        """Yield what the rule finds in folded ``text``, in its order."""
        if self.hint.search(text):
            for match in self.pattern.finditer(text):
                if self.check(match):
                    yield PiiSpan(*match.span(match.lastindex or 0), self.kind)


def alone(pattern: str) -> re.Pattern[str]:
    """Compile ``pattern`` so that what it finds has no digit beside it."""
    return re.compile(f"(?<![0-9])({pattern})(?![0-9])")
