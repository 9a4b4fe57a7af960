"""Counts the rows of a table that have a problem, for a line on the terminal."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable

from smstune.tables.row import TableRow, problem_kind

_ROWS_NAMED = 5

logger = logging.getLogger(__name__)


class RowProblems:
    """How many rows have each kind of problem, and the numbers of the first ones."""

    def __init__(self) -> None:
        self._n_rows: Counter[str] = Counter()
        self._first_rows: defaultdict[str, list[int]] = defaultdict(list)

    def count(self, rows: Iterable[TableRow]) -> None:
        """Count the next rows."""
        for row in rows:
            if row.problem is None:
                continue
            kind = problem_kind(row.problem)
            self._n_rows[kind] += 1
            if len(self._first_rows[kind]) < _ROWS_NAMED:
                self._first_rows[kind].append(row.line)

    def warn(self, outcome: str) -> None:
        """Log a line for each kind; ``outcome`` says what became of the rows and where to look."""
        for kind, n_rows in self._n_rows.most_common():
            numbers = ", ".join(map(str, self._first_rows[kind]))
            more = ", ..." if n_rows > _ROWS_NAMED else ""
            logger.warning(
                "warning: %s: %d in all, at row %s%s: %s", kind, n_rows, numbers, more, outcome
            )
