"""Brings the Chinese catalogue up to date with the code (`make translations`)."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

PACKAGE = Path(__file__).parents[1] / "train" / "smstune"
PO = PACKAGE / "locale" / "zh" / "LC_MESSAGES" / "smstune.po"
MO = PO.with_suffix(".mo")
#: The first argument of each is a text for people.
KEYWORDS = dict.fromkeys(("Message", "UserError", "GateError", "debug", "info", "warning", "error"))
_DATE = datetime(2026, 11, 28, tzinfo=UTC)


def texts_of_the_code() -> Catalog:
    """Return a catalogue of the texts in the code, without translations."""
    # One date, so that the file changes only where a text does.
    catalogue = Catalog(
        "zh",
        header_comment="# Chinese texts of smstune; `make translations` adds those of new code.",
        project="smstune",
        creation_date=_DATE,
        revision_date=_DATE,
        fuzzy=False,
    )
    extracted = extract_from_dir(PACKAGE, [("**.py", "python")], keywords=KEYWORDS)
    for file, _line, text, _comments, context in extracted:
        catalogue.add(text, locations=[(file, 0)], context=context)
    return catalogue


def read_catalogue(path: Path) -> Catalog:
    """Return the catalogue of a .po or .mo file."""
    with path.open("rb") as stream:
        return read_po(stream, locale="zh") if path.suffix == ".po" else read_mo(stream)


def main() -> None:
    """Add new texts to the .po, drop those the code no longer has, and compile the .mo."""
    catalogue = texts_of_the_code()
    known = read_catalogue(PO) if PO.exists() else Catalog(locale="zh")
    for message in catalogue:
        if message.id and message.id in known:
            message.string = known[message.id].string
    PO.parent.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as stream:
        write_po(stream, catalogue, include_lineno=False, sort_by_file=True)
    with MO.open("wb") as stream:
        write_mo(stream, catalogue)
    missing = sum(not message.string for message in catalogue)
    print(f"{len(catalogue)} texts, {missing} without a translation: {PO}")


if __name__ == "__main__":
    sys.exit(main())
