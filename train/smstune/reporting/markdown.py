"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser

from smstune.reporting.html import Section


def render_markdown(title: str, summary: str, sections: Iterable[Section]) -> str:
    """Return the same page as GitHub's Markdown: its tables and warnings; figures are left out."""
    lines = [f"# {title}", "", summary, ""]
    for section in sections:
        lines += [f"## {section.title}", "", *([section.note, ""] if section.note else [])]
        for part in section.parts:
            reader = _PartReader()
            reader.feed(str(part))
            lines += reader.lines
    return "\n".join(lines).rstrip() + "\n"


class _PartReader(HTMLParser):
    """Tables and paragraphs of a part as lines of Markdown."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._row: list[str] = []
        self._text: list[str] = []
        self._stress = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._stress = "**" if ("class", "warning") in attrs else ""
        self._row = [] if tag == "tr" else self._row
        self._text = [] if tag in ("td", "th", "p") else self._text

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        text = " ".join("".join(self._text).split()).replace("|", r"\|").replace("<", "&lt;")
        if tag in ("td", "th"):
            self._row.append(text)
        elif tag == "tr":
            self.lines.append(f"| {' | '.join(self._row)} |")
        elif tag == "thead":
            self.lines.append("|---" * len(self._row) + "|")
        elif tag == "table":
            self.lines.append("")
        elif tag == "p":
            self.lines += [f"{self._stress}{text}{self._stress}", ""]
