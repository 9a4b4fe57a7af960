"""A self-contained HTML page: sections, tables, inline figures; light, dark, phone, desktop."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure


class Section(NamedTuple):
    """A part of a page: a heading, a line on what it shows, and its tables and figures."""

    title: str
    note: str = ""
    parts: Sequence[Markup] = ()


_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #fff; --stripe: #f6f8fa;
  --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --back: #0d1117; --stripe: #151b23; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--back);
  color: var(--text); line-height: 1.5;
  font-family: system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .25rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p { margin: .25rem 0 .75rem; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.text { white-space: normal; min-width: 16rem; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
th { color: var(--soft); font-weight: 600; }
tbody tr:nth-child(odd) { background: var(--stripe); }
figure { margin: .5rem 0 1rem; overflow-x: auto; }
figure svg { width: 100%; min-width: 34rem; max-width: 52rem; height: auto; }
.warning { border-left: 4px solid var(--bad); padding: .4rem .8rem; background: var(--stripe);
  color: var(--text); }
@media (prefers-color-scheme: dark) { figure { background: #fff; border-radius: 6px;
  padding: .5rem; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ summary }}</p>
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{% if section.note %}
<p>{{ section.note }}</p>
{% endif %}
{% for part in section.parts %}
{{ part }}
{% endfor %}
</section>
{% endfor %}
</body>
</html>
"""
)
_TABLE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<div class="scroll"><table>
<thead><tr>{% for name in head %}<th{{ wide(loop.index0) }}>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td{{ wide(loop.index0) }}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>"""
)


def render_page(title: str, summary: str, sections: Iterable[Section]) -> str:
    """Return the HTML of a page that needs nothing from outside."""
    return _PAGE.render(title=title, summary=summary, sections=list(sections)) + "\n"


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: Sequence[str] = ()
) -> Markup:
    """Return a table; numbers of type float get three decimals, ``None`` a dash.

    ``text_columns`` are aligned left and may wrap.
    """
    wide = {index for index, name in enumerate(head) if name in text_columns}
    cells = [[show(cell) for cell in row] for row in rows]

    def css(index: int) -> Markup:
        return Markup(' class="text"') if index in wide else Markup("")

    return Markup(_TABLE.render(head=head, rows=cells, wide=css))


def warning(text: str) -> Markup:
    """Return a paragraph that stands out."""
    return Markup('<p class="warning">{}</p>').format(text)


def figure(drawing: Figure, description: str) -> Markup:
    """Return a figure as inline SVG with ``description`` for those who cannot see it."""
    buffer = io.StringIO()
    # Without a date and with fixed ids the same numbers give the same page.
    # Text stays text: the reader's own fonts show Chinese label names.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "smstune"}):
        drawing.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    return Markup('<figure role="img" aria-label="{}">{}</figure>').format(description, Markup(svg))


def show(value: object) -> str:
    """Return ``value`` as a cell shows it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
