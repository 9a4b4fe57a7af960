"""A table as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.reporting.document import Table
from smstune.reporting.format import show
from smstune.reporting.translation import in_reader_language

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def render_latex(table: Table) -> str:
    """Return a ``tabular`` in the reader's language, with the rules of the package booktabs."""
    table = in_reader_language(table)
    columns = "".join(
        "l" if number == 0 or name in table.text_columns else "r"
        for number, name in enumerate(table.head)
    )
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _row(table.head),
            r"\midrule",
            *(_row([show(cell) for cell in row]) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join("".join(_SPECIAL.get(c, c) for c in cell) for cell in cells) + r" \\"
