"""A report as GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from smstune.reporting.document import (
    Block,
    Caution,
    Figure,
    ItemList,
    Report,
    Subheading,
    Table,
    Text,
)
from smstune.reporting.format import join_sentences, show
from smstune.reporting.translation import in_reader_language, language_tag


def render_markdown(report: Report) -> str:
    """Return the report's texts, warnings and tables, in the reader's language.

    Figures are left to the page.
    """
    report = in_reader_language(report)
    lines = [f"# {report.title}", "", join_sentences(report.opening, language_tag()), ""]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        lines += [_plain(section.note), ""] if section.note else []
        for block in section.blocks:
            lines += _lines(block)
    return "\n".join(lines).rstrip() + "\n"


def _lines(block: Block) -> list[str]:
    match block:
        case Text(text):
            return [_plain(text), ""]
        case Caution(text):
            return [f"**{_plain(text)}**", ""]
        case Subheading(text):
            return [f"### {_plain(text)}", ""]
        case ItemList(items):
            return [*(f"- **{_plain(term)}** {_plain(text)}" for term, text in items), ""]
        case Table():
            return table_lines(block)
        case Figure():
            return []


def table_lines(table: Table) -> list[str]:
    """Return the lines of a table in the reader's language, an empty one at its end."""
    table = in_reader_language(table)
    rule = "|---" * len(table.head) + "|"
    return [_row(table.head), rule, *(_row(map(show, row)) for row in table.rows), ""]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    """Return a text on one line that opens no cell and no tag of its own."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
