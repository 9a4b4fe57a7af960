"""Detects UTF-8 or GB18030 and decodes with undecodable bytes marked."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from smstune.errors import UserError
from smstune.tables.compression import open_bytes

_CHUNK = 1 << 20


def detect_encoding(path: Path) -> str:
    """Return ``utf-8-sig`` (with or without a byte order mark) or ``gb18030`` for a file.

    That is the one that decodes the whole file, otherwise the one that leaves fewer lines
    undecodable, UTF-8 on a tie.

    Raises:
        UserError: if the file is missing or empty.
    """
    with open_bytes(path) as stream:
        if not stream.read(1):
            raise UserError(f"expected messages, found an empty file at {path}")
    for encoding in ("utf-8-sig", "gb18030"):
        if _decodes(path, encoding):
            return encoding
    return min(("utf-8-sig", "gb18030"), key=lambda encoding: _broken_lines(path, encoding))


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file in its encoding; an undecodable byte becomes a lone surrogate."""
    # newline="" leaves line ends inside quoted csv fields to the csv module.
    encoding = detect_encoding(path)
    with (
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="") as text,
    ):
        yield text


def has_bad_bytes(text: str) -> bool:
    """Return whether ``text``, read by ``open_text``, had undecodable bytes."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def is_printable(cell: object) -> bool:
    """Return whether every text in a cell can be written, having no lone surrogate.

    Raises:
        RecursionError: if lists and objects are nested hundreds of levels deep.
    """
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(cell, Mapping):
        return all(is_printable(key) and is_printable(cell[key]) for key in cell)
    return not isinstance(cell, list) or all(map(is_printable, cell))


def printable(cell: object) -> object:
    """Return a cell with every character that cannot be written replaced by a question mark."""
    if isinstance(cell, str):
        return printable_text(cell)
    if isinstance(cell, Mapping):
        return {printable(key): printable(cell[key]) for key in cell}
    return list(map(printable, cell)) if isinstance(cell, list) else cell


def printable_text(text: str) -> str:
    """Return a text with every character that cannot be written replaced by a question mark."""
    return text.encode("utf-8", "replace").decode()


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with open_bytes(path) as stream:
        try:
            while chunk := stream.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _broken_lines(path: Path, encoding: str) -> int:
    with open_bytes(path) as stream:
        return sum(1 for line in stream if not _line_decodes(line, encoding))


def _line_decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
