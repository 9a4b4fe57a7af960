"""What stands in a text in place of personal information, and where it was found."""

from __future__ import annotations

import re
from typing import NamedTuple

CONTACTS = ("PHONE", "LANDLINE", "SERVICE", "ID", "CARD", "URL", "EMAIL", "WECHAT", "QQ")
#: ``[NAME]`` and ``[PLACE]`` come only from FBS, which has them.
KINDS = (*CONTACTS, "CODE", "MONEY", "NUM", "NAME", "PLACE")
PLACEHOLDERS = tuple(f"[{kind}]" for kind in KINDS)
PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
#: Stands for each character of a placeholder or of what was found: no rule matches it.
BLANK = "\0"


class PiiSpan(NamedTuple):
    """Characters ``start`` to ``end`` (exclusive) of the text hold information of ``type``."""

    start: int
    end: int
    type: str


def replace_spans(text: str, spans: list[PiiSpan], *, blank: bool = False) -> str:
    """Return ``text`` with a placeholder for each span, or as many blanks as it has characters."""
    pieces, last = [], 0
    for start, end, kind in spans:
        pieces += [text[last:start], BLANK * (end - start) if blank else f"[{kind}]"]
        last = end
    return "".join(pieces) + text[last:]
