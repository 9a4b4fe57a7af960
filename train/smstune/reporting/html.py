"""A report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from smstune.reporting.format import show


def paragraph(text: str) -> Markup:
    """Return a paragraph."""
    return Markup("<p>{}</p>").format(text)


class Section(NamedTuple):
    """A part of a page: a heading, a line on what it shows, and its tables and figures."""

    title: str
    note: str = ""
    parts: Sequence[Markup] = ()


#: The look of every page.
STYLE = """\
:root { --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #fff; --stripe: #f6f8fa;
  --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --back: #0d1117; --stripe: #151b23; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--back);
  color: var(--text); line-height: 1.5;
  font-family: system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .25rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p { max-width: 60rem; margin: .25rem 0 .75rem; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums;
  font-size: .9rem; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.text { white-space: normal; min-width: 16rem; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
th { color: var(--soft); font-weight: 600; }
tr { background: var(--back); }
tbody tr:nth-child(odd) { background: var(--stripe); }
/* The name of a row stays in sight while its numbers are scrolled. */
th:first-child, td:first-child { position: sticky; left: 0; background: inherit; }
figure { margin: .5rem 0 1rem; overflow-x: auto; }
figure svg { width: 100%; min-width: 34rem; max-width: 52rem; height: auto; }
figure.narrow svg { min-width: 0; max-width: 32rem; }
.warning { border-left: 4px solid var(--bad); padding: .4rem .8rem; background: var(--stripe);
  color: var(--text); }
@media (max-width: 34rem) { table { font-size: .8rem; } th, td { padding: .25rem .4rem; } }
@media (prefers-color-scheme: dark) { figure { background: #fff; border-radius: 6px;
  padding: .5rem; } }
"""
_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html lang="{{ lang }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
{{ style }}</style>
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


def render_page(title: str, summary: str, sections: Iterable[Section], *, lang: str = "en") -> str:
    """Return the HTML of a page that needs nothing from outside; ``lang`` is its language."""
    facts = {"style": Markup(STYLE), "title": title, "summary": summary, "lang": lang}
    return _PAGE.render(**facts, sections=list(sections)) + "\n"


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


def grid(
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    count: Mapping[tuple[str, ...], int],
) -> Markup:
    """Return a table of the counts of each (row, column), with totals."""
    body: list[list[object]] = [[row, *(count[row, one] for one in columns)] for row in rows]
    sums = [sum(count[row, one] for row in rows) for one in columns]
    body.append(["all", *sums])
    if len(columns) < 2:
        return table([corner, *columns], body)
    every = [sum(count[row, one] for one in columns) for row in rows]
    return table(
        [corner, *columns, "all"],
        [[*row, total] for row, total in zip(body, [*every, sum(sums)], strict=True)],
    )
