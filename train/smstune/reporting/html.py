"""A report as one self-contained HTML page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from smstune.reporting.charts import SERIES_COLOURS, ConfusionGrid, draw, legend
from smstune.reporting.document import (
    Block,
    Caution,
    Figure,
    Highlighted,
    ItemList,
    Report,
    Subheading,
    Table,
    Text,
)
from smstune.reporting.format import join_sentences, show
from smstune.reporting.translation import in_reader_language, language_tag

if TYPE_CHECKING:
    from jinja2 import Template

#: A confusion grid of so many labels can be read at a phone's width.
_FEW_LABELS = 6
#: Share of the strongest score below which a piece is not coloured.
_FAINTEST = 0.02

#: The look of every page.
STYLE = """\
:root { --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #fff; --stripe: #8c959f18;
  --shade: #1f232833; --bad: #b42318; --for: #d63c32; --against: #286edc;
  --series-0: #2f6fb3; --series-1: #c77700; --series-2: #3d8b5a; --series-3: #a8428f;
  --series-4: #6b6b6b; --series-5: #b8503a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --back: #0d1117; --stripe: #8c959f18; --shade: #fff6; --bad: #ff7b72; --for: #ff6a5e;
  --against: #6ba4ff; --series-0: #5b9bdf; --series-1: #e0a030; --series-2: #6cbb87;
  --series-3: #d57fc0; --series-4: #a8a8a8; --series-5: #e08a72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 100rem; padding: 1rem; background: var(--back);
  color: var(--text); line-height: 1.5;
  font-family: system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .25rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: .5rem 0 0; }
p { max-width: 60rem; margin: .25rem 0 .75rem; color: var(--soft); overflow-wrap: anywhere; }
.opening { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .5rem 2.5rem; }
.opening p { flex: 1 1 24rem; color: var(--text); font-size: 1.05rem; }
.warning { border-left: 4px solid var(--bad); padding: .4rem .8rem; background: var(--stripe);
  color: var(--text); }
/* What fits side by side lies side by side; a text has a line of its own. */
.blocks { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .5rem 2.5rem; }
.blocks > p, .blocks > h3, .blocks > ul { flex: 0 0 100%; }
.blocks > * { min-width: 0; max-width: 100%; }
/* A shadow at the right says that there is more; at the end a cover scrolls over it. */
.scroll { overflow-x: auto; margin: .5rem 0 1rem; background:
  linear-gradient(to left, var(--back) 1rem, transparent) local,
  radial-gradient(farthest-side at 100% 50%, var(--shade), transparent) 100% 0 / .8rem 100%
  no-repeat; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums;
  font-size: .9rem; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.text { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
/* A long name wraps; it does not push its numbers out of sight. */
td:first-child { white-space: normal; min-width: min(11rem, 45vw); max-width: 24rem;
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
tbody tr:nth-child(odd) { background: var(--stripe); }
/* The name of a row stays in sight while its numbers are scrolled. */
th:first-child, td:first-child { position: sticky; left: 0; background: var(--back); }
tbody tr:nth-child(odd) td:first-child {
  background: linear-gradient(var(--stripe), var(--stripe)), var(--back); }
figure { margin: .5rem 0 1rem; flex: 0 1 30rem; }
figure.wide { flex-basis: auto; }
figure.panels { flex: 1 1 100%; }
figure.panels .drawings { display: grid; gap: .5rem 1rem;
  grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure svg { display: block; width: 100%; max-width: calc(var(--drawn-width) * 1.2px);
  height: auto; font-size: 12px; fill: currentColor; }
figure.wide svg { width: calc(var(--drawn-width) * 1px); max-width: none; }
svg .title { font-weight: 600; }
svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--soft); }
svg .mark { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .cell { fill: none; stroke: var(--line); }
svg .inverse { fill: var(--back); }
svg polyline { fill: none; stroke-width: 2; }
svg .dashed { stroke-dasharray: 5 4; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: 0 0 .4rem; font-size: .85rem;
  color: var(--soft); }
.legend span::before { content: ""; display: inline-block; width: 1.2rem; margin-right: .4rem;
  vertical-align: middle; border-top: 3px solid var(--key); }
.legend .dashed::before { border-top-style: dashed; }
@media (max-width: 34rem) { table { font-size: .8rem; } th, td { padding: .25rem .4rem; } }
""" + "".join(
    f"svg .fill{number} {{ fill: var(--series-{number}); }}\n"
    f"svg .stroke{number} {{ stroke: var(--series-{number}); stroke-width: 2; }}\n"
    f".key{number} {{ --key: var(--series-{number}); }}\n"
    for number in range(SERIES_COLOURS)
)
_PAGE = """\
<!doctype html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ report.title }}</title>
<style>
{{ style }}</style>
</head>
<body>
<h1>{{ report.title }}</h1>
<div class="opening">
<p>{{ opening }}</p>
{% if report.figure %}
{{ render(report.figure) }}
{% endif %}
</div>
{% for section in report.sections %}
<section>
<h2>{{ section.title }}</h2>
{% if section.note %}
<p>{{ section.note }}</p>
{% endif %}
<div class="blocks">
{% for block in section.blocks %}
{{ render(block) }}
{% endfor %}
</div>
</section>
{% endfor %}
</body>
</html>
"""
_TABLE = """\
<div class="scroll"><table>
<thead><tr>{% for name in head %}<th{{ css(loop.index0) }}>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td{{ css(loop.index0) }}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>"""


def render_html(report: Report) -> str:
    """Return the HTML of a page that needs nothing from outside, in the reader's language."""
    language = language_tag()
    report = in_reader_language(report)
    return (
        _template(_PAGE).render(
            report=report,
            language=language,
            opening=join_sentences(report.opening, language),
            style=Markup(STYLE),
            render=_render,
        )
        + "\n"
    )


@cache
def _template(source: str) -> Template:
    # The server takes the style alone, and jinja2 is slow to import.
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)


def _render(block: Block) -> Markup:
    match block:
        case Text(text):
            return Markup("<p>{}</p>").format(text)
        case Caution(text):
            return Markup('<p class="warning">{}</p>').format(text)
        case Subheading(text):
            return Markup("<h3>{}</h3>").format(text)
        case ItemList(items):
            item = Markup("<li><strong>{}</strong><br>{}</li>")
            return Markup("<ul>{}</ul>").format(
                Markup("").join(item.format(*pair) for pair in items)
            )
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)


def _table(table: Table) -> Markup:
    text_columns = {number for number, name in enumerate(table.head) if name in table.text_columns}
    cells = [[_cell(value) for value in row] for row in table.rows]

    def css(column: int) -> Markup:
        return Markup(' class="text"') if column in text_columns else Markup("")

    return Markup(_template(_TABLE).render(head=table.head, rows=cells, css=css))


def _cell(value: object) -> str:
    return _highlighted(value) if isinstance(value, Highlighted) else show(value)


def _highlighted(cell: Highlighted) -> Markup:
    """Return a text with each piece coloured by its score, the strongest one most."""
    largest = max((abs(score) for _, score in cell.pieces if score is not None), default=0.0)
    spans = []
    for text, score in cell.pieces:
        strength = abs(score) / largest if score else 0.0
        if score is None or strength < _FAINTEST:
            spans.append(escape(text))
            continue
        colour = Markup("--for" if score > 0 else "--against")
        spans.append(
            Markup(
                '<span style="background:color-mix(in srgb,var({}) {:.0f}%,transparent)" '
                'title="{:+.2f}">{}</span>'
            ).format(colour, 60 * strength, score, text)
        )
    return Markup("").join(spans)


def _figure(figure: Figure) -> Markup:
    panels = len(figure.charts) > 1
    wide = (
        isinstance(figure.charts[0], ConfusionGrid) and len(figure.charts[0].labels) > _FEW_LABELS
    )
    drawings = [draw(chart, figure.description, panel=panels) for chart in figure.charts]
    entries = {entry: None for chart in figure.charts for entry in legend(chart)}
    key = Markup("").join(
        Markup('<span class="key{}{}">{}</span>').format(
            entry.colour % SERIES_COLOURS, " dashed" if entry.dashed else "", entry.name
        )
        for entry in entries
    )
    return Markup('<figure class="{}">{}<div class="{}drawings">\n{}\n</div></figure>').format(
        "panels" if panels else "wide" if wide else "",
        Markup('<div class="legend">{}</div>').format(key) if key else "",
        "scroll " if wide else "",
        Markup("\n").join(drawings),
    )
