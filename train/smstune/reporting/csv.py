"""A table as csv."""

from __future__ import annotations

import csv
import io

from smstune.reporting.document import Table


def render_csv(table: Table) -> str:
    """Return a table as csv, numbers in full; ``None`` is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.head)
    writer.writerows(table.rows)
    return buffer.getvalue()
