"""The empty rows of a table: between others they are messages without text, at its end nothing."""

from __future__ import annotations

from array import array
from pathlib import Path

from smstune.language import Message
from smstune.tables.header import say_once
from smstune.tables.options import TableOptions


class EmptyRows:
    """Holds back empty rows until it is known whether another row follows.

    With labels they are skipped, as a row without a label is of no use. The terminal says how many
    rows were left out.
    """

    def __init__(self, path: Path, options: TableOptions) -> None:
        self._path = path
        self._are_kept = not options.labelled
        # Eight bytes for each: a damaged file may have millions of them.
        self._waiting = array("q")

    def add(self, number: int) -> None:
        """Hold back the empty row ``number``."""
        self._waiting.append(number)

    def __bool__(self) -> bool:
        return bool(self._waiting) and self._are_kept

    def take(self) -> array[int]:
        """Return the numbers of the rows to keep before the row that was just read."""
        taken, self._waiting = self._waiting, array("q")
        return taken

    def say_left_out(self) -> None:
        """Log how many rows were left out, at the end of the table."""
        if not self._waiting:
            return
        sentence = (
            Message(
                "{path}: empty rows at the end, left out: {n_rows}",
                path=self._path,
                n_rows=len(self._waiting),
            )
            if self._are_kept
            else Message(
                "{path}: empty rows skipped: {n_rows}, the first is row {first_row}",
                path=self._path,
                n_rows=len(self._waiting),
                first_row=self._waiting[0],
            )
        )
        say_once(sentence)
