"""The XML that backup apps of phones write: SMS Backup & Restore and its kin.

``<smses><sms address="..." date="milliseconds" type="1" body="..."/></smses>``; an ``<mms>`` has
its text in ``<part ct="text/plain" text="..."/>`` (synctech.com.au/sms-backup-restore).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from smstune.errors import UserError
from smstune.tables.decoding.compression import open_bytes
from smstune.tables.options import TableOptions
from smstune.tables.row import Cells, RawRow

_ROOT = "smses"
#: Android's message types (Telephony.TextBasedSmsColumns): 1 is the inbox.
_RECEIVED = "1"
_REFERENCES = re.compile(rb"(?:&#(?:\d{1,7}|[xX][0-9a-fA-F]{1,6});)+")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_phone_backup(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the messages of a phone's backup with columns text, time, sender and recipient.

    Messages that the owner sent have a recipient instead of a sender. ``number`` counts messages.

    Raises:
        UserError: if labels are needed, which a phone has not; if the XML is damaged or another.
    """
    if options.labelled:
        raise UserError(
            "{path} is a phone's backup (XML), which has no labels: label its messages in a csv "
            "file with the columns text and label",
            path=path,
        )
    number = 0
    try:
        with open_bytes(path) as stream:
            root: Element | None = None
            for event, element in iterparse(_Repaired(stream), events=("start", "end")):
                if root is None:
                    root = element
                    _require_backup(path, element.tag)
                if event == "end" and element.tag in ("sms", "mms"):
                    number += 1
                    yield RawRow(number, _message_cells(element))
                    root.clear()
    except (ParseError, DefusedXmlException) as error:
        raise UserError(
            "{path} is damaged XML ({error}) after message {number}: export it again",
            path=path,
            error=error,
            number=number,
        ) from None


def _require_backup(path: Path, tag: str) -> None:
    if tag != _ROOT:
        raise UserError(
            "{path} is XML with <{tag}>; of XML, only phone backups (<{root}>) and the NUS corpus "
            "can be read: write it as csv with a column text",
            path=path,
            tag=tag[:40],
            root=_ROOT,
        )


def _message_cells(message: Element) -> Cells:
    address, time = message.get("address"), message.get("date")
    if message.tag == "sms":
        text, is_received = message.get("body"), message.get("type") == _RECEIVED
    else:
        texts = [
            part.get("text") for part in message.iter("part") if part.get("ct") == "text/plain"
        ]
        text, is_received = "\n".join(filter(None, texts)), message.get("msg_box") == _RECEIVED
    return {
        "text": text,
        "time": time,
        "sender": address if is_received else None,
        "recipient": None if is_received else address,
    }


class _Repaired:
    """A stream of XML with the character references that these apps write wrongly made right.

    They write an emoji as two surrogates (``&#55357;&#56832;``), and control characters, neither of
    which XML allows.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, _size: int = -1) -> bytes:
        """Return the next line: a reference never spans two."""
        return _REFERENCES.sub(_repaired, self._stream.readline())


def _repaired(match: re.Match[bytes]) -> bytes:
    """Return a run of character references with surrogates joined, and none that XML forbids."""
    characters = map(_character, match[0].decode().removeprefix("&#").rstrip(";").split(";&#"))
    joined = "".join(characters).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    # Still references: a line break as such would become a blank in an attribute.
    return "".join(f"&#{ord(letter)};" for letter in _NOT_XML.sub("\ufffd", joined)).encode()


def _character(reference: str) -> str:
    code = int(f"0{reference}", 16) if reference[0] in "xX" else int(reference)
    return chr(code) if code <= sys.maxunicode else "\ufffd"
