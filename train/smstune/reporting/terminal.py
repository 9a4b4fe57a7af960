"""A table on a terminal."""

from __future__ import annotations

import io

from smstune.language import translated
from smstune.reporting.document import Table
from smstune.reporting.format import show
from smstune.reporting.translation import in_reader_language

#: What every terminal has.
COLUMNS = 80


def render_terminal(table: Table, title: str = "", *, columns: int = COLUMNS) -> str:
    """Return a table in the reader's language, of at most so many columns of characters.

    Longer cells wrap.
    """
    # Not at the top: it takes time, and a page does not need it.
    import rich.table
    from rich.console import Console

    table = in_reader_language(table)
    grid = rich.table.Table(title=translated(title) or None, title_justify="left")
    for number, name in enumerate(table.head):
        is_text = number == 0 or name in table.text_columns
        grid.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(show, row))
    buffer = io.StringIO()
    Console(file=buffer, width=columns, markup=False, highlight=False).print(grid)
    return buffer.getvalue()
