"""A table on a terminal."""

from __future__ import annotations

import io

from smstune.reporting.document import Table
from smstune.reporting.format import show

#: What every terminal has.
COLUMNS = 80


def render_terminal(table: Table, title: str = "", *, columns: int = COLUMNS) -> str:
    """Return a table of at most so many columns of characters; longer cells wrap."""
    # Not at the top: it takes time, and a page does not need it.
    import rich.table
    from rich.console import Console

    grid = rich.table.Table(title=title or None, title_justify="left")
    for number, name in enumerate(table.head):
        is_text = number == 0 or name in table.text_columns
        grid.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(show, row))
    buffer = io.StringIO()
    Console(file=buffer, width=columns, markup=False, highlight=False).print(grid)
    return buffer.getvalue()
