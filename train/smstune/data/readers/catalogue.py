"""Every reader by its name, and the choice of the one that fits an input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smstune.data.readers.chifraud import read_chifraud
from smstune.data.readers.fbs import read_fbs
from smstune.data.readers.hub import read_hub
from smstune.data.readers.nus import read_nus
from smstune.errors import UserError
from smstune.tables.compression import PACKED
from smstune.tables.options import TableOptions
from smstune.tables.read import Reader, read_rows

#: The bundled messages.
SAMPLE = Path(__file__).parents[1] / "sample" / "messages.csv"

#: Formats of a user's own tables; what a file really is shows by its first bytes.
TABLES = ("csv", "tsv", "txt", "jsonl", "json", "parquet", "xlsx", "xlsm", "xls", "ods")
SOURCES: dict[str, Reader] = {
    "fbs": read_fbs,
    "nus": read_nus,
    "chifraud": read_chifraud,
    **dict.fromkeys(TABLES, read_rows),
    "hub": read_hub,
    "sample": read_rows,
}


@dataclass(frozen=True)
class Input:
    """One input of a preparation: its path or hub id, its reader, the name of its source."""

    path: Path
    reader: Reader
    source: str


def parse_input(text: str, default: str | None = None) -> Input:
    """Return the input that ``[SOURCE:]PATH`` names.

    Without a prefix the reader is ``default``, or else guessed from the path. The source's name is
    the reader's for public sets and the file's stem for generic formats, so two csv files are two
    sources.

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
        raise UserError(f"unknown source {name!r} for {text}: use one of {', '.join(SOURCES)}")
    return Input(path, SOURCES[name], _source_name(name, path))


def check_input(input_: Input, options: TableOptions) -> None:
    """Read the first row of a local input to see that it is readable and has the columns.

    Raises:
        UserError: if it is not, or lacks a column.
    """
    if input_.path.exists():
        next(iter(input_.reader(input_.path, options)), None)


def _source_name(reader: str, path: Path) -> str:
    if reader == "hub":
        return str(path)
    return _unpacked(path).stem if reader in TABLES else reader


def _unpacked(path: Path) -> Path:
    """Return the path without the suffix of its compression."""
    return path.with_suffix("") if path.suffix in PACKED else path


def _guess_reader(path: Path) -> str:
    suffix = _unpacked(path).suffix.lower().lstrip(".")
    if path.is_dir():
        return "fbs"
    if path.exists():
        return {"zip": "nus", "xml": "nus"}.get(suffix, suffix)
    if len(path.parts) == 2 and suffix not in SOURCES:
        return "hub"
    raise UserError(f"expected a file, a folder or a data set's id, found nothing at {path}")
