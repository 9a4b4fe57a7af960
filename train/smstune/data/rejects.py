"""Rows that a preparation does not keep: counted by reason, the first of them by their numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from smstune.language import Message, joined

#: Row numbers that a line of the terminal shows.
_SHOWN_ROWS = 5


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be used: ``reason`` is counted, ``detail`` is about this very row."""

    reason: str
    detail: str


@dataclass
class RowCount:
    """A number of rows, and file and line of the first of them."""

    count: int = 0
    first: list[tuple[str, int]] = field(default_factory=list)

    def add(self, file: str, line: int) -> None:
        """Count a row."""
        self.count += 1
        if len(self.first) < _SHOWN_ROWS:
            self.first.append((file, line))

    def describe(self, *, with_files: bool) -> Message:
        """Return the first row numbers: ``rows 2, 12, ...``, or ``rows 2, 12 of a.csv, ...``."""
        lines_by_file: dict[str, list[str]] = {}
        for file, line in self.first:
            lines_by_file.setdefault(file, []).append(str(line))
        numbers = {Path(file).name: ", ".join(lines) for file, lines in lines_by_file.items()}
        listed = joined(
            [
                Message("{rows} of {file}", rows=rows, file=file) if with_files else rows
                for file, rows in numbers.items()
            ],
            "; ",
        )
        if self.count == 1:
            return Message("row {row}", row=listed)
        if self.count > len(self.first):
            return Message("rows {rows}, ...", rows=listed)
        return Message("rows {rows}", rows=listed)


@dataclass
class Rejects:
    """Rows that cannot be used: a JSON line for each in ``stream``, their number by reason."""

    stream: TextIO
    by_reason: dict[str, RowCount] = field(default_factory=dict)

    def add(self, file: str, line: int, problem: Problem) -> None:
        """Add a row by its file and line; its text may be the problem, so it is not written."""
        record = {"file": file, "line": line, "reason": problem.detail}
        self.stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.by_reason.setdefault(problem.reason, RowCount()).add(file, line)

    def total(self) -> int:
        """Return the number of rejected rows."""
        return sum(rows.count for rows in self.by_reason.values())
