"""Files packed by gzip or Zstandard, read and written as streams of bytes."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from smstune.errors import UserError

#: The suffixes of packed files.
PACKED = (".gz", ".zst")
_CHUNK = 1 << 20


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for reading bytes; .gz and .zst are decompressed.

    Raises:
        UserError: if the file is missing, or its compressed data are damaged.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}: check the path")
    if path.suffix not in PACKED:
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with _open_gz(path) if path.suffix == ".gz" else _open_zst(path) as unpacked:
            yield unpacked
    except (EOFError, gzip.BadGzipFile, zlib.error, _zst_error()) as error:
        raise UserError(
            f"{path} is not a complete {path.suffix} file ({error}): download or copy it again"
        ) from error


@contextmanager
def open_packed(path: Path, suffix: str) -> Iterator[BinaryIO]:
    """Open ``path`` for writing bytes, packed as files with ``suffix`` are.

    The same bytes give the same file: gzip's header holds neither name nor time.
    """
    with path.open("wb") as stream:
        if suffix == ".gz":
            with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        elif suffix == ".zst":
            with _write_zst(stream) as packed_zst:
                yield packed_zst
        else:
            yield stream


def _open_gz(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path))


if sys.version_info >= (3, 14):
    from compression import zstd

    def _open_zst(path: Path) -> BinaryIO:
        return cast(BinaryIO, zstd.open(path))

    def _write_zst(stream: BinaryIO) -> BinaryIO:
        return cast(BinaryIO, zstd.ZstdFile(stream, "w"))

    def _zst_error() -> type[Exception]:
        return zstd.ZstdError

else:

    def _open_zst(path: Path) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_ZstReader(path), _CHUNK))

    def _write_zst(stream: BinaryIO) -> BinaryIO:
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(stream, closefd=False)

    def _zst_error() -> type[Exception]:
        import zstandard

        return zstandard.ZstdError

    class _ZstReader(io.RawIOBase):
        """Reads all frames of a .zst file; to zstandard's own reader a cut file is whole."""

        def __init__(self, path: Path) -> None:
            import zstandard

            self._new_frame = zstandard.ZstdDecompressor().decompressobj
            self._frame = self._new_frame()
            self._stream = path.open("rb")
            self._packed = b""
            self._unpacked = b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            while not self._unpacked and self._unpack():
                pass
            size = min(len(buffer), len(self._unpacked))
            buffer[:size] = self._unpacked[:size]
            self._unpacked = self._unpacked[size:]
            return size

        def _unpack(self) -> bool:
            """Unpack another chunk; return whether there was one."""
            self._packed = self._packed or self._stream.read(_CHUNK)
            if not self._packed:
                if not self._frame.eof:
                    raise EOFError("it ends in the middle")
                return False
            if self._frame.eof:
                self._frame = self._new_frame()
            self._unpacked = self._frame.decompress(self._packed)
            self._packed = self._frame.unused_data
            return True

        def close(self) -> None:
            self._stream.close()
            super().close()
