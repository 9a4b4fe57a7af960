"""Every reader by its name, and the choice of the one that fits an input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smstune.data.readers.chifraud import read_chifraud
from smstune.data.readers.fbs import is_fbs, read_fbs
from smstune.data.readers.hub import read_hub
from smstune.data.readers.nus import is_nus, read_nus
from smstune.data.readers.scriptguard import read_scriptguard
from smstune.errors import UserError
from smstune.paths import local_path, user_path
from smstune.tables.decoding.compression import PACKED
from smstune.tables.options import TableOptions
from smstune.tables.read import Reader, read_rows

#: The bundled messages.
SAMPLE = Path(__file__).parents[1] / "sample" / "messages.csv"

#: Formats of a user's own tables; what a file really is shows by its first bytes.
TABLES = (
    "csv", "tsv", "txt", "jsonl", "ndjson", "json", "parquet", "xlsx", "xlsm", "xls", "ods", "xml",
    "zip", "folder",
)  # fmt: skip
SOURCES: dict[str, Reader] = {
    "fbs": read_fbs,
    "nus": read_nus,
    "chifraud": read_chifraud,
    "scriptguard": read_scriptguard,
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
        name, path = prefix, SAMPLE if prefix == "sample" else user_path(rest)
    else:
        path = user_path(text)
        name = default or _guess_reader(text)
    if name not in SOURCES:
        raise UserError(
            "unknown source {name!r} for {text}: use one of {sources}",
            name=name,
            text=text,
            sources=", ".join(SOURCES),
        )
    return Input(path, SOURCES[name], _source_name(name, path))


def absolute_input(text: str) -> str:
    """Return ``[SOURCE:]PATH`` as it is found from any folder; a hub id stays as it is."""
    prefix, colon, rest = text.partition(":")
    if not colon or prefix not in SOURCES or Path(text).exists():
        prefix, colon, rest = "", "", text
    path = user_path(rest)
    return f"{prefix}{colon}{path.resolve()}" if rest and path.exists() else text


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
    if path.is_dir() and reader in TABLES:
        return path.resolve().name
    return _unpacked(path).stem if reader in TABLES else reader


def _unpacked(path: Path) -> Path:
    """Return the path without the suffix of its compression."""
    return path.with_suffix("") if path.suffix.lower() in (*PACKED, ".zip") else path


def _guess_reader(text: str) -> str:
    path = user_path(text)
    suffix = _unpacked(path).suffix.lower().lstrip(".")
    if path.is_dir():
        return "fbs" if is_fbs(path) else "folder"
    if path.exists():
        if path.suffix.lower() in (".zip", ".xml") and is_nus(path):
            return "nus"
        # What a file is shows by its bytes, so that any other name is one of a table.
        return suffix if suffix in TABLES else "txt"
    if local_path(text) is None and suffix not in SOURCES:
        return "hub"
    raise UserError("found nothing at {path}: check the path", path=path)
