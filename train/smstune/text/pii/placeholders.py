"""Placeholders for personal information, and the spans that they replace."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONTACTS = ("PHONE", "LANDLINE", "SERVICE", "ID", "CARD", "URL", "EMAIL", "WECHAT", "QQ")
#: ``[NAME]`` and ``[PLACE]`` occur only in FBS, which has such marks.
KINDS = (*CONTACTS, "CODE", "MONEY", "NUM", "NAME", "PLACE")
PLACEHOLDERS = tuple(f"[{kind}]" for kind in KINDS)
PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
#: Replaces each character of a placeholder or of a find; no rule matches it.
BLANK = "\0"


@dataclass(frozen=True, order=True, slots=True)
class PiiSpan:
    """Characters ``start`` to ``end`` (exclusive) of a text are information of ``type``."""

    start: int
    end: int
    type: str


def replace_spans(text: str, spans: list[PiiSpan], *, blank: bool = False) -> str:
    """Return ``text`` with a placeholder for each span, or as many blanks as it has characters."""
    written, last = [], 0
    for span in spans:
        length = span.end - span.start
        written += [text[last : span.start], BLANK * length if blank else f"[{span.type}]"]
        last = span.end
    return "".join(written) + text[last:]
