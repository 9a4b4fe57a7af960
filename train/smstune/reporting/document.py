"""A report as data: sections of texts, warnings, tables and figures, in no markup language."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from smstune.language import Message
from smstune.reporting.charts import Chart


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Caution:
    """A paragraph that stands out."""

    text: str


@dataclass(frozen=True)
class Subheading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class ItemList:
    """A list of terms with descriptions; wraps on a narrow screen, unlike a table."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Highlighted:
    """A table cell of text in pieces, each with the score that colours it, ``None`` for none."""

    pieces: Sequence[tuple[str, float | None]]

    def __str__(self) -> str:
        """Return the text without colours."""
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True)
class Table:
    """Rows of cells below ``head``; ``format.show`` says how a cell is written.

    Cells of ``text_columns`` are aligned left and may wrap.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    text_columns: Collection[str] = ()


@dataclass(frozen=True)
class Figure:
    """One chart, or small ones of the same series side by side, and what it shows in words."""

    charts: Sequence[Chart]
    description: str


Block = Text | Caution | Subheading | ItemList | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading, a note on what the section shows, and its blocks."""

    title: str
    note: str = ""
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Report:
    """A whole page: first what a reader needs to decide, then the sections.

    ``opening`` is three to five sentences.
    """

    title: str
    opening: Sequence[str]
    figure: Figure | None
    sections: Sequence[Section]


def count_table(
    corner: str,
    row_names: Sequence[str],
    column_names: Sequence[str],
    counts: Mapping[tuple[str, ...], int],
) -> Table:
    """Return a table of the counts of each (row, column), with totals."""
    numbers = {name: [counts[name, column] for column in column_names] for name in row_names}
    numbers[Message("all")] = [sum(column) for column in zip(*numbers.values(), strict=True)]
    if len(column_names) < 2:
        return Table([corner, *column_names], [[name, *row] for name, row in numbers.items()])
    rows = [[name, *row, sum(row)] for name, row in numbers.items()]
    return Table([corner, *column_names, Message("all")], rows)
