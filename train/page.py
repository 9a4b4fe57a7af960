"""A self-contained HTML page: sections, tables, inline figures; light, dark, phone, desktop."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html.parser import HTMLParser
from itertools import cycle
from typing import NamedTuple

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

#: What ``spread`` returns.
SPREAD = ("mean", "median", "95 %", "99 %", "longest")
_COLOURS = ("#2f6fb3", "#e0a030", "#5a9e6f")


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


def figure(drawing: Figure, description: str, *, narrow: bool = False) -> Markup:
    """Return a figure as inline SVG with ``description`` for those who cannot see it.

    A ``narrow`` one fits a phone's width; others keep theirs and can be scrolled there.
    """
    buffer = io.StringIO()
    # Without a date and with fixed ids the same numbers give the same page.
    # Text stays text: the reader's own fonts show Chinese label names.
    with warnings.catch_warnings():
        # matplotlib's own font lacks Chinese, which is never drawn with it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "smstune"}):
            drawing.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    kind = Markup(' class="narrow"') if narrow else ""
    return Markup('<figure{} role="img" aria-label="{}">{}</figure>').format(
        kind, description, Markup(svg)
    )


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


def bars(
    names: Sequence[str], series: Mapping[str, Sequence[float]], axis: str, description: str
) -> Markup:
    """Return horizontal bars, the first name on top; several series are stacked."""
    drawing = Figure(figsize=(5, 0.9 + 0.25 * len(names)))
    axes = drawing.subplots()
    places = range(len(names))
    start = [0.0] * len(names)
    for (name, values), colour in zip(series.items(), cycle(_COLOURS), strict=False):
        axes.barh(places, values, left=start, color=colour, label=name)
        start = [left + value for left, value in zip(start, values, strict=True)]
    # A dollar sign would open a formula.
    axes.set_yticks(places, [name.replace("$", r"\$") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(axis)
    axes.xaxis.grid(True, color="#d1d9e0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, ncols=len(series), loc="lower left", bbox_to_anchor=(0, 1))
    return figure(drawing, description, narrow=True)


def histogram(counts: Mapping[int, int], unit: str, *, width: int = 20, most: int = 12) -> Markup:
    """Return how many messages are how long, as bars and as a table, and at the end all longer."""
    bins = Counter[int]()
    for size, count in counts.items():
        bins[min(max(size - 1, 0) // width, most)] += count
    places = range(max(bins, default=0) + 1)
    names = [
        f"{at * width + 1} to {(at + 1) * width}" if at < most else f"more than {most * width}"
        for at in places
    ]
    every = max(bins.total(), 1)
    rows = [[names[at], bins[at], percent(bins[at] / every)] for at in places]
    series = {"messages": [bins[at] for at in places]}
    drawing = bars(names, series, "messages", f"Messages by {unit} as bars")
    return drawing + table([unit, "messages", "share"], rows)


def spread(lengths: Counter[int]) -> list[object]:
    """Return mean, median, 95th and 99th percentile (nearest rank) and the longest."""
    if not lengths:
        return [None] * len(SPREAD)
    sizes = np.array(sorted(lengths))
    reached = np.cumsum([lengths[size] for size in sizes.tolist()])
    at = np.searchsorted(reached, np.ceil(np.array([0.5, 0.95, 0.99, 1.0]) * reached[-1]))
    mean = sum(size * count for size, count in lengths.items()) / lengths.total()
    return [f"{mean:.1f}", *sizes[at].tolist()]


def show(value: object) -> str:
    """Return ``value`` as a cell shows it."""
    if value is None:
        return "–"
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def percent(share: float) -> str:
    """Return a share as a whole percentage; what is not none or all does not look like it."""
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"
