"""Figures as inline SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from markupsafe import Markup

from smstune.reporting.format import percent
from smstune.reporting.html import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#2f6fb3", "#e0a030", "#5a9e6f")


def figure(drawing: Figure, description: str, *, narrow: bool = False) -> Markup:
    """Return a figure as inline SVG with ``description`` for those who cannot see it.

    A ``narrow`` one fits a phone's width; others keep theirs and can be scrolled there.
    """
    from matplotlib import rc_context

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


def bars(
    names: Sequence[str], series: Mapping[str, Sequence[float]], axis: str, description: str
) -> Markup:
    """Return horizontal bars, the first name on top; several series are stacked."""
    from matplotlib.figure import Figure

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
