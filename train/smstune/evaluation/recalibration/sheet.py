"""The sheet that certifies thresholds: drawn messages with an empty label, and what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from smstune.errors import UserError
from smstune.files import file_written_whole, json_digest
from smstune.inference.label_names import LabelCounts, list_names
from smstune.inference.labels import LabelMap
from smstune.results import Result
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows
from smstune.tables.row import Cells, TableRow
from smstune.tables.write import OutputTable, open_writer

#: Suffixes of a sheet.
SHEETS = (".xlsx", ".csv", ".tsv")
#: The id of the row that says what the sheet is of.
_ABOUT = "sheet"
#: A message that a point did not draw; otherwise the letter of the strictest threshold it reaches.
_NOT_DRAWN = "."
_STRICTEST = "a"


class SheetPoint(Result):
    """What the sheet has for one operating point.

    ``blocked`` counts the new campaigns that reach each of ``thresholds``, strictest first, and
    ``review_from`` goes with each. ``reached`` has a letter for each message of the sheet: ``a`` if
    it reaches the strictest threshold, and so on; a point if it was not drawn for this point.
    """

    name: str
    thresholds: tuple[float, ...]
    review_from: tuple[float | None, ...]
    blocked: tuple[int, ...]
    negatives: float
    reached: str

    def rank(self, row: int) -> int | None:
        """Return the number of the strictest threshold that a message reaches, if it was drawn."""
        letter = self.reached[row]
        return None if letter == _NOT_DRAWN else ord(letter) - ord(_STRICTEST)


class About(Result):
    """What a sheet belongs to, and how its messages were drawn."""

    #: Of the weights and the calibration that scored the messages, and the form that did.
    scored_by: str
    form: str
    messages: str
    campaigns: int
    seed: int
    points: tuple[SheetPoint, ...]
    #: SHA-256 of everything above and of the ids of the messages.
    checksum: str = ""


@dataclass(frozen=True)
class FilledSheet:
    """A sheet with labels: what it is of, and the label id of each message, in their order."""

    about: About
    label_ids: tuple[int, ...]


def reached_letters(ranks: Sequence[int | None]) -> str:
    """Return the letters of ``SheetPoint.reached`` for the number of each message's threshold."""
    return "".join(_NOT_DRAWN if rank is None else chr(ord(_STRICTEST) + rank) for rank in ranks)


def check_sheet_name(path: Path) -> None:
    """Check that a sheet can be written to ``path``.

    Raises:
        UserError: if its suffix names no sheet.
    """
    if path.suffix.lower() not in SHEETS:
        raise UserError(
            "expected a sheet called {sheets} as output, found {name}",
            sheets=", ".join(SHEETS),
            name=path.name,
        )


def write_sheet(path: Path, about: About, texts: Sequence[str]) -> None:
    """Write the messages to label, masked as they are given, each with its id.

    The last row says what the sheet is of. A csv can be opened in a spreadsheet as it is.
    """
    ids = [_row_id(number, text) for number, text in enumerate(texts)]
    about = about.model_copy(update={"checksum": _checksum(about, ids)})
    rows: list[Cells] = [
        {"id": row_id, "text": text, "label": ""} for row_id, text in zip(ids, texts, strict=True)
    ]
    described = json.dumps(about.to_json(), ensure_ascii=False)
    output = OutputTable(path, excel=path.suffix.lower() == ".csv")
    with file_written_whole(path) as scratch, open_writer(output, scratch) as write:
        write([*rows, {"id": _ABOUT, "text": described, "label": ""}])


def read_sheet(path: Path, labels: LabelMap) -> FilledSheet:
    """Read a sheet whose labels were filled in; its rows may be in any order.

    Raises:
        UserError: if it is no such sheet, a row is missing, changed or there twice, or a label is
            missing or not one of the run's.
    """
    rows: dict[str, TableRow] = {}
    for row in read_rows(path, TableOptions(text="text", label="label")):
        row_id = str(row.fields.get("id") or "").strip()
        if row_id in rows:
            raise UserError(
                "{path}, line {line}: the id {row_id} is there twice: restore the sheet as it was "
                "written, and fill in only the column label",
                path=path,
                line=row.line,
                row_id=row_id,
            )
        rows[row_id] = row
    about = _about(path, rows.pop(_ABOUT, None))
    if about.checksum != _checksum(about, sorted(rows)):
        raise UserError(
            "{path}: rows were added or deleted, or an id or the row {about} was changed: restore "
            "the sheet as it was written, and fill in only the column label",
            path=path,
            about=_ABOUT,
        )
    ordered = [rows[row_id] for row_id in sorted(rows)]
    for number, row in enumerate(ordered):
        if _row_id(number, row.text or "") != row.fields["id"]:
            raise UserError(
                "{path}, line {line}: the text is not the one that the id {row_id} was written "
                "with: restore the sheet as it was written, and sort only whole rows",
                path=path,
                line=row.line,
                row_id=row.fields["id"],
            )
    return FilledSheet(about=about, label_ids=_label_ids(path, ordered, labels))


def _about(path: Path, row: TableRow | None) -> About:
    if row is None:
        raise UserError(
            "expected a sheet of `smstune recalibrate RUN NEW --output`, and {path} has no row "
            "{about}: use the sheet as it was written",
            path=path,
            about=_ABOUT,
        )
    try:
        return About.model_validate_json(row.text or "")
    except ValidationError as error:
        raise UserError(
            "{path}, line {line}: the row {about} was changed: restore the sheet as it was "
            "written, and fill in only the column label",
            path=path,
            line=row.line,
            about=_ABOUT,
        ) from error


def _label_ids(path: Path, rows: Sequence[TableRow], labels: LabelMap) -> tuple[int, ...]:
    """Return the label ids of the rows.

    Raises:
        UserError: if a label is missing or unknown.
    """
    label_ids = labels.ids_of_texts()
    unlabelled = [row for row in rows if not row.label]
    if unlabelled:
        raise UserError(
            "{path}: {n_unlabelled:,} of {n_rows:,} messages have no label (the first in line "
            "{line}): label all of them, or the labelled ones are no random sample",
            path=path,
            n_unlabelled=len(unlabelled),
            n_rows=len(rows),
            line=min(row.line for row in unlabelled),
        )
    unknown = LabelCounts()
    for row in rows:
        if row.label and row.label not in label_ids:
            unknown.add(row.label)
    if unknown.rows:
        raise UserError(
            "{path}: the run was not trained on these labels: {unknown}. It has {labels}: correct "
            "the labels",
            path=path,
            unknown=unknown.listed(),
            labels=list_names(label_ids),
        )
    return tuple(label_ids[row.label or ""] for row in rows)


def _row_id(number: int, text: str) -> str:
    """Return the id of a message: its number and a hash of its text, blanks ignored."""
    digest = hashlib.sha256("".join(text.split()).encode()).hexdigest()
    return f"m{number:04d}-{digest[:8]}"


def _checksum(about: About, ids: Sequence[str]) -> str:
    facts = {**about.to_json(), "checksum": "", "ids": list(ids)}
    return json_digest(facts)
