"""A table as csv."""

from __future__ import annotations

import csv
import io

from smstune.reporting.document import Table
from smstune.reporting.translation import in_reader_language


def render_csv(table: Table) -> str:
    """Return a table as csv in the reader's language, numbers in full; ``None`` is empty."""
    table = in_reader_language(table)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.head)
    writer.writerows(table.rows)
    return buffer.getvalue()
