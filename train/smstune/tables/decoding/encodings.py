"""Detects UTF-8, UTF-16 or GB18030 and decodes with undecodable bytes marked."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.decoding.compression import open_bytes

#: The problem of a row with bytes in no known encoding.
UNDECODABLE = Message("undecodable bytes")
_CHUNK = 1 << 20
_HEAD = 1 << 16
#: DOS's end of a file, and the mark at the beginning of a file that was joined to another.
_MARK = re.compile("[\x1a\ufeff]")
#: So many zero bytes, all high or all low ones, are no accident.
_LEAST_ZEROS = 8


def detect_encoding(path: Path) -> str:
    """Return the encoding of a file: UTF-8 or UTF-16 (with or without a mark), or GB18030.

    ``mixed`` means that lines differ, or some cannot be decoded.

    Raises:
        UserError: if the file is missing or empty.
    """
    with open_bytes(path) as stream:
        head = stream.read(_HEAD)
    if not head:
        raise UserError("expected messages, found an empty file at {path}", path=path)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if unmarked := unmarked_utf16(head):
        return unmarked
    if _decodes(path, "utf-8-sig"):
        return "utf-8-sig"
    with open_bytes(path) as stream:
        return "gb18030" if all(map(_is_gb18030, stream)) else "mixed"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file in its encoding; an undecodable byte becomes a lone surrogate."""
    # newline="" leaves line ends inside quoted csv fields to the csv reader.
    encoding = detect_encoding(path)
    with open_bytes(path) as stream:
        if encoding == "mixed":
            as_utf8 = cast(io.RawIOBase, _LinesAsUtf8(stream))
            decoded = io.BufferedReader(as_utf8, _CHUNK)
            yield io.TextIOWrapper(decoded, "utf-8-sig", errors="surrogateescape", newline="")
            return
        # A lone surrogate of UTF-16 stays one, and an odd last byte becomes a mark.
        errors = "surrogateescape" if not encoding.startswith("utf-16") else "replace"
        with io.TextIOWrapper(stream, encoding, errors=errors, newline="") as text:
            yield text


def clean_lines(text: TextIO) -> Iterator[str]:
    """Yield lines without a mark at their beginning (of a joined file) and without DOS's end mark.

    A line that is nothing but the end mark is dropped.
    """
    while lines := text.readlines(_HEAD):
        # Looking at many lines at once takes no time, at each it does.
        if _MARK.search("".join(lines)):
            unmarked = (line.replace("\x1a", "").removeprefix("\ufeff") for line in lines)
            yield from (line for line in unmarked if line)
        else:
            yield from lines


class _LinesAsUtf8(io.RawIOBase):
    """A file of lines in several encodings as UTF-8; undecodable bytes stay as they are."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._waiting:
            lines = self._lines.readlines(_HEAD)
            self._waiting = b"".join(map(_as_utf8, lines))
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size


def _as_utf8(line: bytes) -> bytes:
    """Return a line in UTF-8, whichever encoding fits it."""
    text = line.decode("utf-8", "surrogateescape")
    n_bad = sum("\udc80" <= character <= "\udcff" for character in text)
    n_wide = sum("\u0800" <= character < "\ud800" or character > "\udfff" for character in text)
    # A damaged line of UTF-8 often is valid, though meaningless, GB18030.
    if n_wide > n_bad or line.isascii():
        return line
    return line.decode("gb18030", "surrogateescape").encode("utf-8", "surrogateescape")


def _is_gb18030(line: bytes) -> bool:
    """Return whether a line is GB18030, and not Chinese text in UTF-8 that happens to decode."""
    return line.isascii() or (_line_decodes(line, "gb18030") and not _is_wide_utf8(line))


def _is_wide_utf8(line: bytes) -> bool:
    # Two bytes of GB18030 may be a character of UTF-8; three bytes in a row hardly ever.
    return _line_decodes(line, "utf-8") and max(line.decode()) >= "\u0800"


def unmarked_utf16(head: bytes) -> str | None:
    """Return which UTF-16 a file without a mark is in, by the zero bytes of its ASCII."""
    zeros = (head[::2].count(0), head[1::2].count(0))
    if max(zeros) < _LEAST_ZEROS or max(zeros) < 0.01 * len(head) or min(zeros) > max(zeros) / 20:
        return None
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


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


def _line_decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
