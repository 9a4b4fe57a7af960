"""Text files whose encoding nobody wrote down: found out, decoded, bad bytes kept visible."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import pyarrow as pa

from smstune.errors import UserError

#: What the end of a file's name says of its compression, in pyarrow's words.
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_CHUNK = 1 << 20


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for reading bytes; one whose name ends in .gz or .zst is decompressed.

    Raises:
        UserError: if the file is missing, or what was compressed is broken.
    """
    if not path.is_file():
        raise UserError(f"expected a file, found none at {path}: check the path")
    compression = COMPRESSION.get(path.suffix)
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            # pyarrow's stream has the methods of a raw one; the buffer adds lines.
            yield cast(BinaryIO, io.BufferedReader(stream, _CHUNK))
    except OSError as error:
        if compression is None or error.errno is not None:
            raise
        raise UserError(
            f"expected a whole {path.suffix} file, found a broken one at {path}: {error}: "
            "get it once more"
        ) from error


def detect_encoding(path: Path) -> str:
    """Return ``utf-8-sig`` (with or without a mark) or ``gb18030`` for the file at ``path``.

    A file that is whole in one of them has that one; otherwise the one in which fewer lines are
    broken, UTF-8 if they tie.

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
    """Open ``path`` in its encoding; a byte that does not decode becomes a lone surrogate."""
    # newline="" leaves line ends inside quoted csv fields to the csv module.
    encoding = detect_encoding(path)
    with (
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="") as text,
    ):
        yield text


def has_bad_bytes(text: str) -> bool:
    """Return whether ``text``, read by ``open_text``, holds bytes that did not decode."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def is_printable(value: Any) -> bool:  # noqa: ANN401
    """Return whether every text in a cell can be written: it holds no half of a surrogate pair.

    Raises:
        RecursionError: if lists and objects lie in one another hundreds of times.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, Mapping):
        return all(is_printable(key) and is_printable(item) for key, item in value.items())
    return not isinstance(value, list) or all(map(is_printable, value))


def printable(value: Any) -> Any:  # noqa: ANN401
    """Return a cell in whose texts what cannot be written is a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {printable(key): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


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
