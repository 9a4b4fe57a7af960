"""Every reader by its name, and the one that fits an input."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from smstune.data.readers.chifraud import read_chifraud
from smstune.data.readers.fbs import read_fbs
from smstune.data.readers.hub import read_hub
from smstune.data.readers.nus import read_nus
from smstune.errors import UserError
from smstune.tables.columns import Columns
from smstune.tables.encodings import COMPRESSION
from smstune.tables.read import READERS, Reader

#: The bundled messages.
SAMPLE = Path(__file__).parents[1] / "sample" / "messages.csv"

SOURCES: dict[str, Reader] = {
    "fbs": read_fbs,
    "nus": read_nus,
    "chifraud": read_chifraud,
    "csv": READERS[".csv"],
    "tsv": READERS[".tsv"],
    "jsonl": READERS[".jsonl"],
    "parquet": READERS[".parquet"],
    "hub": read_hub,
    "sample": READERS[".csv"],
}


class Input(NamedTuple):
    """One input of a preparation: where it is, how to read it, the name of its source."""

    path: Path
    reader: Reader
    source: str


def parse_input(text: str, default: str | None = None) -> Input:
    """Read ``[SOURCE:]PATH``; without a prefix by ``default``, else by what the path is.

    The source's name is the reader's for public sets, the file's stem for generic formats, so that
    two csv files are two sources.

    Raises:
        UserError: if no reader fits, naming those there are.
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix in SOURCES and not Path(text).exists():
        name, path = prefix, SAMPLE if prefix == "sample" else Path(rest)
    else:
        path = Path(text)
        name = default or _guess_reader(path)
    if name not in SOURCES:
        raise UserError(f"expected a source of {', '.join(SOURCES)}, found {name!r} for {text}")
    return Input(path, SOURCES[name], _source_name(name, path))


def check_input(item: Input, columns: Columns) -> None:
    """Read the first row of an input, which shows whether it can be read and has the columns.

    A data set of the hub, which is no local file, is not asked twice.

    Raises:
        UserError: if not.
    """
    if item.path.exists():
        next(iter(item.reader(item.path, columns)), None)


def _source_name(reader: str, path: Path) -> str:
    if reader == "hub":
        return str(path)
    generic = reader in ("csv", "tsv", "jsonl", "parquet")
    return _unpacked(path).stem if generic else reader


def _unpacked(path: Path) -> Path:
    """Return the path without the suffix of its compression."""
    return path.with_suffix("") if path.suffix in COMPRESSION else path


def _guess_reader(path: Path) -> str:
    suffix = _unpacked(path).suffix.lower().lstrip(".")
    if path.is_dir():
        return "fbs"
    if path.exists():
        return {"zip": "nus", "xml": "nus", "json": "jsonl"}.get(suffix, suffix)
    if len(path.parts) == 2 and suffix not in SOURCES:
        return "hub"
    raise UserError(f"expected a file, a folder or a data set's id, found nothing at {path}")
