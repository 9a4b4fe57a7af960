"""Charts as data, drawn as SVG whose colours are CSS classes of the page's own style.

A report draws only bars, lines and a confusion grid. They take their colours (light or dark) and
fonts from the page, and the same numbers always give the same bytes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from smstune.language import Message, translated

#: Colours that the page's style has; further series repeat them.
SERIES_COLOURS = 6

# In the units of the drawing, which is shown at about one CSS pixel a unit.
_WIDTH = 400
_PANEL_WIDTH, _PANEL_HEIGHT = 260, 170
_LINES_HEIGHT = 250
_FONT = 12
_BAR, _BAR_GAP = 14, 8
_LONGEST_LABEL = 150
_CELL = 30


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars, the first name on top; several series are stacked or lie side by side."""

    names: Sequence[str]
    values_by_series: Mapping[str, Sequence[float]]
    axis: str
    stacked: bool = True


@dataclass(frozen=True)
class Line:
    """Points of a series; ``None`` for y leaves a gap.

    ``colour`` counts the page's series colours from 0, ``intervals`` are bounds around each y.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int
    dashed: bool = False
    markers: bool = False
    intervals: Sequence[tuple[float, float] | None] = ()


@dataclass(frozen=True)
class LineChart:
    """Lines over a number, or over names at 0, 1, 2, ... (``x_names``).

    ``y_range`` is the range of the y axis; if ``None``, it is that of the points. A vertical line
    is drawn at ``marked_x``.
    """

    lines: Sequence[Line]
    x_axis: str
    y_axis: str
    title: str = ""
    y_range: tuple[float, float] | None = None
    x_names: Sequence[str] = ()
    marked_x: float | None = None


@dataclass(frozen=True)
class ConfusionGrid:
    """Counts by true label (rows) and predicted label (columns), shaded by their share of a row."""

    counts: Sequence[Sequence[int]]
    labels: Sequence[str]


Chart = BarChart | LineChart | ConfusionGrid
_Scale = Callable[[float], float]


@dataclass(frozen=True)
class LegendEntry:
    """A series of a chart by its name, its colour and the dash of its line."""

    name: str
    colour: int
    dashed: bool = False


def legend(chart: Chart) -> list[LegendEntry]:
    """Return what tells a chart's series apart; empty where there is one series."""
    match chart:
        case BarChart():
            names = list(chart.values_by_series)
            entries = [LegendEntry(name, number) for number, name in enumerate(names)]
        case LineChart():
            entries = [LegendEntry(line.name, line.colour, line.dashed) for line in chart.lines]
        case ConfusionGrid():
            entries = []
    # Several lines may be of one series.
    entries = list(dict.fromkeys(entries))
    return entries if len(entries) > 1 else []


def draw(chart: Chart, description: str, *, panel: bool = False) -> Markup:
    """Return a chart as an SVG element with ``description`` for those who cannot see it.

    A ``panel`` is smaller, one of several side by side.
    """
    match chart:
        case BarChart():
            return _draw_bars(chart, description)
        case LineChart():
            return _draw_lines(chart, description, panel=panel)
        case ConfusionGrid():
            return _draw_grid(chart, description)


def _draw_bars(chart: BarChart, description: str) -> Markup:
    series = list(chart.values_by_series.values())
    rows = len(chart.names)
    stacked = chart.stacked or len(series) == 1
    thickness = _BAR if stacked else _BAR * len(series)
    longest = max(
        [0.0, *(map(sum, zip(*series, strict=True)) if stacked else map(max, filter(len, series)))]
    )
    ticks = _ticks(0, longest or 1)
    left = min(_LONGEST_LABEL, max(map(text_width, chart.names), default=0)) + 8
    plot_width = _WIDTH - left - text_width(_tick_text(ticks[-1], ticks)) / 2 - 2
    scale = plot_width / ticks[-1]
    step = thickness + _BAR_GAP
    bottom = rows * step + _BAR_GAP / 2
    marks = [_vertical_grid(left + tick * scale, bottom, _tick_text(tick, ticks)) for tick in ticks]
    for row, name in enumerate(chart.names):
        top = row * step + _BAR_GAP / 2
        marks.append(_label(name, left - 6, top + thickness / 2, _LONGEST_LABEL, anchor="end"))
        start = left
        for number, values in enumerate(series):
            width = max(values[row], 0) * scale
            bar_top = top if stacked else top + number * _BAR
            marks.append(_rectangle(start, bar_top, width, _BAR - (not stacked), number))
            start += width if stacked else 0
    marks.append(_text(chart.axis, left + plot_width / 2, bottom + 32, "middle"))
    return _svg(_WIDTH, bottom + 40, marks, description)


def _draw_lines(chart: LineChart, description: str, *, panel: bool) -> Markup:
    width, height = (_PANEL_WIDTH, _PANEL_HEIGHT) if panel else (_WIDTH, _LINES_HEIGHT)
    x_low, x_high = _bounds([x for line in chart.lines for x, _ in line.points])
    if chart.x_names:
        x_ticks = _named_ticks(chart.x_names, width)
    else:
        x_ticks = [tick for tick in _ticks(x_low, x_high) if x_low <= tick <= x_high]
    low, high = chart.y_range or _bounds(_shown_numbers(chart.lines))
    y_ticks = _ticks(low, high)
    if chart.y_range is None:
        low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    left = max(text_width(_tick_text(tick, y_ticks)) for tick in y_ticks) + 24
    x_texts = [
        chart.x_names[int(tick)] if chart.x_names else _tick_text(tick, x_ticks) for tick in x_ticks
    ]
    # The last text lies centred below the end of the axis and must not be cut off.
    right, top = width - max(14.0, text_width(x_texts[-1]) / 2), 26 if chart.title else 8
    bottom = height - 38

    def x_of(value: float) -> float:
        return left + (value - x_low) / (x_high - x_low) * (right - left)

    def y_of(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    marks = [_title(chart.title, left)] if chart.title else []
    for tick in y_ticks:
        marks.append(_line_element(left, y_of(tick), right, y_of(tick), "grid"))
        marks.append(_text(_tick_text(tick, y_ticks), left - 6, y_of(tick) + 4, "end"))
    for tick, x_text in zip(x_ticks, x_texts, strict=True):
        marks.append(_line_element(x_of(tick), bottom, x_of(tick), bottom + 4, "axis"))
        marks.append(_text(x_text, x_of(tick), bottom + 16, "middle"))
    marks.append(_line_element(left, bottom, right, bottom, "axis"))
    if chart.marked_x is not None:
        marks.append(_line_element(x_of(chart.marked_x), top, x_of(chart.marked_x), bottom, "mark"))
    for line in chart.lines:
        marks += _line_marks(line, x_of, y_of)
    marks.append(_text(chart.x_axis, (left + right) / 2, height - 6, "middle"))
    middle = (top + bottom) / 2
    marks.append(_upright(chart.y_axis, middle))
    return _svg(width, height, marks, description)


def _line_marks(line: Line, x_of: _Scale, y_of: _Scale) -> list[Markup]:
    """Return a line in its unbroken stretches, its intervals and its markers."""
    colour = line.colour % SERIES_COLOURS
    stretches: list[list[str]] = [[]]
    for x, y in line.points:
        if y is None:
            stretches.append([])
        else:
            stretches[-1].append(f"{x_of(x):.1f},{y_of(y):.1f}")
    dash = " dashed" if line.dashed else ""
    marks = [
        Markup('<polyline class="stroke{}{}" points="{}"/>').format(colour, dash, " ".join(stretch))
        for stretch in stretches
        if len(stretch) > 1
    ]
    for (x, _), bounds in zip(line.points, line.intervals, strict=False):
        if bounds is not None:
            low, high = bounds
            marks.append(_line_element(x_of(x), y_of(low), x_of(x), y_of(high), f"stroke{colour}"))
    if line.markers or len(line.points) == 1:
        marks += [
            Markup('<circle class="fill{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(
                colour, x_of(x), y_of(y)
            )
            for x, y in line.points
            if y is not None
        ]
    return marks


def _draw_grid(chart: ConfusionGrid, description: str) -> Markup:
    size = len(chart.labels)
    label_width = min(_LONGEST_LABEL, max(map(text_width, chart.labels), default=0))
    left = label_width + 26
    marks = [_upright(translated(Message("true label")), size * _CELL / 2)]
    for row, (name, line) in enumerate(zip(chart.labels, chart.counts, strict=True)):
        middle = (row + 0.5) * _CELL
        marks.append(_label(name, left - 6, middle, _LONGEST_LABEL, anchor="end"))
        support = sum(line)
        for column, count in enumerate(line):
            share = count / support if support else 0
            marks.append(
                Markup('<rect class="cell" x="{}" y="{}" width="{}" height="{}"/>').format(
                    left + column * _CELL, row * _CELL, _CELL, _CELL
                )
            )
            if count:
                marks.append(
                    Markup(
                        '<rect class="fill0" fill-opacity="{:.2f}" x="{}" y="{}" width="{}" '
                        'height="{}"/>'
                    ).format(share, left + column * _CELL, row * _CELL, _CELL, _CELL)
                )
                kind = "inverse" if share > 0.5 else ""
                marks.append(
                    _text(f"{count}", left + (column + 0.5) * _CELL, middle + 4, "middle", kind)
                )
    bottom = size * _CELL
    for column, name in enumerate(chart.labels):
        short, whole = _shortened(name, _LONGEST_LABEL)
        marks.append(
            Markup(
                '<text transform="translate({:.1f} {:.1f}) rotate(-45)" text-anchor="end">{}{}'
                "</text>"
            ).format(left + (column + 0.5) * _CELL + 4, bottom + 12, short, whole)
        )
    slanted = label_width * math.sqrt(0.5) + 16
    marks.append(
        _text(
            translated(Message("predicted label")),
            left + bottom / 2,
            bottom + slanted + 14,
            "middle",
        )
    )
    return _svg(left + bottom + 4, bottom + slanted + 22, marks, description)


def _svg(width: float, height: float, marks: Sequence[Markup], description: str) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {:.0f} {:.0f}" style="--drawn-width: {:.0f}" role="img" '
        'aria-label="{}">\n{}\n</svg>'
    ).format(width, height, width, description, Markup("\n").join(marks))


def _text(text: str, x: float, y: float, anchor: str, kind: str = "") -> Markup:
    css = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text{} x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        css, x, y, anchor, text
    )


def _upright(text: str, middle: float) -> Markup:
    """Return the name of a vertical axis, at the left edge and read from below."""
    return Markup(
        '<text transform="translate(11 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>'
    ).format(middle, text)


def _title(text: str, x: float) -> Markup:
    return _text(text, x, 14, "start", "title")


def _label(text: str, x: float, middle: float, max_width: float, *, anchor: str) -> Markup:
    """Return a name beside a bar or cell, cut to a width; hovering over it shows the full name."""
    short, whole = _shortened(text, max_width)
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}{}</text>').format(
        x, middle + 4, anchor, short, whole
    )


def _shortened(text: str, max_width: float) -> tuple[str, Markup]:
    """Return the text, cut to ``max_width`` if wider, and then a <title> with the full text."""
    if text_width(text) <= max_width:
        return text, Markup("")
    short = text
    while short and text_width(short + "…") > max_width:
        short = short[:-1]
    return short + "…", Markup("<title>{}</title>").format(escape(text))


def text_width(text: str) -> float:
    """Return about how wide a text is drawn: a Chinese character 1 em, a Latin letter 0.58."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return _FONT * (wide + 0.58 * (len(text) - wide))


def _rectangle(x: float, y: float, width: float, height: float, series: int) -> Markup:
    return Markup(
        '<rect class="fill{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    ).format(series % SERIES_COLOURS, x, y, width, height)


def _line_element(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def _vertical_grid(x: float, bottom: float, name: str) -> Markup:
    return _line_element(x, 0, x, bottom, "grid") + _text(name, x, bottom + 16, "middle")


def _shown_numbers(lines: Sequence[Line]) -> list[float]:
    numbers = [y for line in lines for _, y in line.points if y is not None]
    bounds = [bound for line in lines for pair in line.intervals if pair for bound in pair]
    return numbers + bounds


def _bounds(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the range of the numbers, widened if they are all equal."""
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers: from below ``low`` up to ``high`` or beyond."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _named_ticks(names: Sequence[str], width: float) -> list[float]:
    room = max(1, int((width - 60) / (max(map(text_width, names)) + 10)))
    return [float(position) for position in range(0, len(names), math.ceil(len(names) / room))]


def _tick_text(tick: float, ticks: Sequence[float]) -> str:
    """Return a number on an axis, as exact as the steps between the ticks need."""
    step = ticks[1] - ticks[0]
    if step < 1e-3:
        return f"{tick:.2g}"
    decimals = next(digits for digits in range(6) if round(step * 10**digits, 6) % 1 == 0)
    return f"{tick:,.{decimals}f}"
