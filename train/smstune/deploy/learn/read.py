"""Reads the reports of a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.memory.reports import Report, build_report
from smstune.tables.header import find_column
from smstune.tables.options import Role, TableOptions
from smstune.tables.read import read_rows
from smstune.tables.row import TableRow

_OPTIONAL: tuple[Role, ...] = ("action", "reason", "until")


def read_reports(
    path: Path, options: TableOptions, labels: LabelMap, reporter: str | None
) -> tuple[list[Report], list[int]]:
    """Return the reports of a file and the numbers of their rows.

    Raises:
        UserError: at the first row that is unusable, or if there is none.
    """
    reports, lines = [], []
    for row in read_rows(path, options):
        try:
            report = _report(row, labels)
        except ValueError as error:
            raise UserError(
                "{path}, row {line}: {problem}: nothing was learned, correct the row or delete it",
                path=path,
                line=row.line,
                problem=error,
            ) from error
        reports.append(dataclasses.replace(report, reporter=reporter))
        lines.append(row.line)
    if not reports:
        raise UserError("expected reports in {path}, found no row", path=path)
    return reports, lines


def _report(row: TableRow, labels: LabelMap) -> Report:
    if row.problem is not None:
        raise ValueError(row.problem)
    names = list(row.fields)
    columns = {role: find_column(names, role) for role in _OPTIONAL}
    cells: dict[str, object] = {
        role: row.fields.get(name) for role, name in columns.items() if name is not None
    }
    return build_report(row.text, {**cells, "label": row.label}, labels)
