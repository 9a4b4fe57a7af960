"""What an audit may write of a message and of the other cells of its row."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from smstune.tables.json_text import to_json
from smstune.tables.row import cell_text
from smstune.text.normalize import MAX_CHARACTERS
from smstune.text.pii.find import find_pii
from smstune.text.pii.mask import mask_pii

_RECIPIENT = "[RECIPIENT]"
#: Of these alone a cell is written as it is: an order's number, a service number, a price.
_HARMLESS = {"NUM", "SERVICE", "MONEY"}
_REMEMBERED = 10_000


def masked_message(text: str, recipient: str) -> str:
    """Return a message without personal information and without its own recipient."""
    return mask_pii(_without_recipient(text, recipient)[:MAX_CHARACTERS])


def masked_cell(cell: object, recipient: str = "") -> str:
    """Return a cell beside the message as text, masked like the message if it is personal."""
    text = to_json(cell) if isinstance(cell, Mapping | list) else cell_text(cell)
    return _masked_if_personal(_without_recipient(text or "", recipient)[:MAX_CHARACTERS])


def _without_recipient(text: str, recipient: str) -> str:
    return text.replace(recipient, _RECIPIENT) if len(recipient) > 1 else text


# Senders and such are few.
@lru_cache(maxsize=_REMEMBERED)
def _masked_if_personal(text: str) -> str:
    personal = any(span.type not in _HARMLESS for span in find_pii(text))
    return mask_pii(text) if personal else text
