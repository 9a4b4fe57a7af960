"""The NUS SMS corpus: its XML, zipped or not."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from smstune.errors import UserError
from smstune.tables.decoding.compression import open_bytes
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow

# The corpus unpacks to 23 MB, 20 times its zip; an archive far beyond both is hostile.
_MAX_BYTES = 1 << 30
_MAX_RATIO = 200
_HEAD = 4096


def nus_messages(path: Path) -> Iterator[tuple[int, str | None, str | None]]:
    """Yield number, text and time (``None`` where unknown) of each message of the corpus.

    Raises:
        UserError: if the file is missing, no zip of one XML, too large unpacked, or broken.
    """
    if not path.is_file():
        raise UserError(
            "expected the zip or XML of the NUS SMS corpus, found none at {path}", path=path
        )
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            yield from _parse(stream, path)
        return
    with zipfile.ZipFile(path) as archive:
        files = [file for file in archive.infolist() if file.filename.lower().endswith(".xml")]
        if len(files) != 1:
            raise UserError(
                "expected one XML in {path}, found {n_files}", path=path, n_files=len(files)
            )
        (xml,) = files
        if xml.file_size > min(_MAX_BYTES, _MAX_RATIO * max(xml.compress_size, 1 << 16)):
            raise UserError(
                "expected an archive of the NUS SMS corpus in {path}, found one that unpacks from "
                "{compress_size:,} to {file_size:,} bytes: get it from its source",
                path=path,
                compress_size=xml.compress_size,
                file_size=xml.file_size,
            )
        with archive.open(xml) as stream:
            yield from _parse(stream, path)


def is_nus(path: Path) -> bool:
    """Return whether an XML file, zipped or not, begins as the NUS SMS corpus does.

    Raises:
        UserError: if a zip is damaged, encrypted or has not exactly one file of messages.
    """
    with open_bytes(path) as stream:
        return b"<smsCorpus" in stream.read(_HEAD)


def _parse(stream: IO[bytes], path: Path) -> Iterator[tuple[int, str | None, str | None]]:
    # defusedxml refuses entity definitions, so that a hostile file cannot fill the memory.
    root: Element | None = None
    number = 0
    try:
        for event, element in iterparse(stream, events=("start", "end")):
            if event == "start":
                root = element if root is None else root
            elif element.tag == "message" and root is not None:
                number += 1
                profile = element.find("messageProfile")
                time = None if profile is None else profile.get("time")
                yield number, element.findtext("text"), None if time == "unknown" else time
                root.clear()
    except (ParseError, DefusedXmlException, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            "expected well-formed XML without entities in {path}: {error}", path=path, error=error
        ) from error


def read_nus(path: Path, _options: TableOptions) -> Iterator[TableRow]:
    """Read the NUS SMS corpus, the zip or the XML in it; every message is ham.

    Source: github.com/kite1988/nus-sms-corpus (Chen and Kan, 2013).
    """
    for number, text, time in nus_messages(path):
        yield TableRow(str(path), number, text, "ham", time=time)
