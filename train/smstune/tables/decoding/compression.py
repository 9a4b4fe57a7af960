"""Files packed by gzip, Zstandard or zip (one file in it), as streams of bytes."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

from smstune.errors import UserError

#: The suffixes of packed files that can be written.
PACKED = (".gz", ".zst")
#: The first bytes of packed files.
_SIGNATURES = {
    b"\x1f\x8b": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
    # A zip without files.
    b"PK\x05\x06": ".zip",
}
#: A zip that holds one of these is a workbook or another document, and no packed file.
_DOCUMENT_ENTRIES = {"[Content_Types].xml", "mimetype"}
_DOCUMENT_SUFFIXES = {".xlsx", ".xlsm", ".ods", ".docx"}
_TABLE_SUFFIXES = {
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xlsx", ".xls", ".ods", ".parquet",
    ".xml",
}  # fmt: skip
#: A zip beyond these is made to fill the disk; text compresses to about a tenth.
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_RATIO = 200
_LEAST_PACKED_BYTES = 1 << 16
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1
_MOST_NAMED = 5
_CHUNK = 1 << 20


def packing(path: Path) -> str:
    """Return ``.gz``, ``.zst`` or ``.zip`` by the name or the first bytes, empty if not packed.

    Raises:
        UserError: if the file is missing.
    """
    if not path.is_file():
        raise UserError("no file at {path}: check the path", path=path)
    if path.suffix.lower() in PACKED:
        return path.suffix.lower()
    with path.open("rb") as stream:
        start = stream.read(4)
    for signature, suffix in _SIGNATURES.items():
        if start.startswith(signature) and not (suffix == ".zip" and _is_document(path)):
            return suffix
    return ""


def unpacked_name(path: Path) -> str:
    """Return the name of the file that ``path`` packs; without a suffix of packed files.

    Raises:
        UserError: as ``packing`` does, or if a zip has not exactly one file of messages.
    """
    if packing(path) == ".zip":
        with _opened_zip(path) as archive:
            return _shown_name(_message_entry(path, archive))
    return path.stem if path.suffix.lower() in PACKED else path.name


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for reading bytes, unpacked where it is packed, whatever its suffix says.

    Raises:
        UserError: if the file is missing, its packed data are damaged, or a zip is encrypted, has
            not exactly one file of messages, or is made to fill the disk.
    """
    suffix = packing(path)
    if suffix == ".zip":
        with _opened_zip(path) as archive, archive.open(_message_entry(path, archive)) as unpacked:
            yield cast(BinaryIO, unpacked)
        return
    if not suffix:
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with _open_gz(path) if suffix == ".gz" else _open_zst(path) as unpacked:
            yield unpacked
    except (EOFError, gzip.BadGzipFile, zlib.error, _zst_error()) as error:
        # gzip's own words show the first bytes.
        raise UserError(
            "{path} is not a complete {suffix} file: copy it again, or remove {suffix} from its "
            "name if it is unpacked already",
            path=path,
            suffix=suffix,
        ) from error


@contextmanager
def open_seekable(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` as ``open_bytes`` does, a packed file in memory, so that it can be sought in.

    Raises:
        UserError: as ``open_bytes`` does, or if a packed file is too large for memory.
    """
    with open_bytes(path) as stream:
        if not packing(path):
            yield stream
            return
        unpacked = stream.read(_MAX_UNPACKED_BYTES + 1)
        if len(unpacked) > _MAX_UNPACKED_BYTES:
            raise UserError(
                "{path} unpacks to more than {limit} GB, which is read whole: unpack it",
                path=path,
                limit=_MAX_UNPACKED_BYTES >> 30,
            )
        yield io.BytesIO(unpacked)


@contextmanager
def unpacked_file(path: Path) -> Iterator[Path]:
    """Give the path of an unpacked copy of ``path``, deleted afterwards; ``path`` if not packed.

    Raises:
        UserError: as ``open_seekable`` does.
    """
    if not packing(path):
        yield path
        return
    with open_seekable(path) as stream, TemporaryDirectory() as folder:
        copy = Path(folder) / "unpacked"
        copy.write_bytes(stream.read())
        yield copy


@contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise UserError("{path} is a damaged zip: download or copy it again", path=path) from error
    except NotImplementedError as error:
        raise UserError(
            "{path} is a zip that cannot be unpacked ({error}): unpack it", path=path, error=error
        ) from error


def _is_document(path: Path) -> bool:
    """Return whether a zip is a workbook or another document; a damaged one tells by its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not _DOCUMENT_ENTRIES.isdisjoint(archive.namelist())
    except zipfile.BadZipFile:
        return path.suffix.lower() in _DOCUMENT_SUFFIXES


def _message_entry(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file of a zip that can hold messages."""
    entries = [entry for entry in archive.infolist() if _is_visible(entry)]
    tables = [entry for entry in entries if _suffix(entry) in _TABLE_SUFFIXES]
    names = ", ".join(map(_shown_name, (tables or entries)[:_MOST_NAMED])) or "nothing"
    if len(tables) > 1:
        raise UserError(
            "{path} is a zip with several files ({names}): unpack it and name one of them, or the "
            "folder",
            path=path,
            names=names,
        )
    if not tables:
        raise UserError(
            "{path} is a zip without a file of messages: it holds {names}", path=path, names=names
        )
    (entry,) = tables
    if entry.flag_bits & _ENCRYPTED:
        raise UserError("{path} is encrypted: unpack it with its password", path=path)
    packed_bytes = max(entry.compress_size, _LEAST_PACKED_BYTES)
    if entry.file_size > min(_MAX_UNPACKED_BYTES, _MAX_RATIO * packed_bytes):
        raise UserError(
            "{path} unpacks from {compress_size:,} to {file_size:,} bytes, as if made "
            "to fill the disk: if you trust it, unpack it yourself",
            path=path,
            compress_size=entry.compress_size,
            file_size=entry.file_size,
        )
    return entry


def _is_visible(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a file that its maker meant to pack."""
    folders_and_name = PurePosixPath(entry.filename).parts
    return not entry.is_dir() and not any(
        name.startswith((".", "__MACOSX")) for name in folders_and_name
    )


def _suffix(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(_shown_name(entry)).suffix.lower()


def _shown_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of an entry: GBK where it does not say UTF-8, as Chinese Windows writes."""
    name = entry.filename
    if not entry.flag_bits & _UTF8_NAME:
        # zipfile decodes such names as cp437.
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("gb18030")
    return "".join(letter if letter.isprintable() else "?" for letter in name)[-100:]


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
