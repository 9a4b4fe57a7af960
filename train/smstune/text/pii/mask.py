"""Personal information replaced by placeholders.

Masking by rule is de-identification, not anonymisation (PIPL Art. 73): what a message says may
still identify a person, so masked text remains personal information.
"""

from __future__ import annotations

from smstune.text.pii.find import find_pii
from smstune.text.pii.placeholders import replace_spans

#: The length of a message in a report.
_SHOWN_CHARACTERS = 120


def mask_pii(text: str) -> str:
    """Return ``text`` with a typed placeholder for every span of ``find_pii``; idempotent."""
    return replace_spans(text, find_pii(text))


def shown(text: str) -> str:
    """Return a message as a report may show it: masked, and cut where it is long."""
    masked = mask_pii(text)
    if len(masked) <= _SHOWN_CHARACTERS:
        return masked
    return masked[: _SHOWN_CHARACTERS - 1] + "…"
