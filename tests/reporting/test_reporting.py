"""A report as data comes out alike in every language it is written in."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree

import pytest

from smstune.language import Message
from smstune.reporting.charts import (
    BarChart,
    ConfusionGrid,
    Line,
    LineChart,
    draw,
    legend,
    text_width,
)
from smstune.reporting.csv import render_csv
from smstune.reporting.document import (
    Caution,
    Figure,
    Highlighted,
    ItemList,
    Report,
    Section,
    Subheading,
    Table,
    Text,
    count_table,
)
from smstune.reporting.format import percent, share_text
from smstune.reporting.html import render_html
from smstune.reporting.latex import render_latex
from smstune.reporting.markdown import render_markdown
from smstune.reporting.terminal import render_terminal
from smstune.reporting.titles import table_with_titles

HOSTILE = "<script>alert(1)</script> | $x$ & 100 %"
LONG = "一个长得放不进图里的标签名称，后面还有很多字" * 3
TABLE = Table(["name", "share", "n", "note"], [[HOSTILE, 0.25, 1200, None]], ["note"])
BARS = BarChart(["a", LONG], {"train": [3, 1], "test": [1, 2]}, "messages")
LINES = LineChart(
    [Line("old", [(0, 0.5), (1, None), (2, 0.7), (3, 0.9)], 0, dashed=True)], "step", "F1"
)
GRID = ConfusionGrid([[5, 1], [0, 9]], ["垃圾", HOSTILE])


def report(*blocks, figure=None):
    section = Section("Title", "A note.", blocks)
    return Report("The page", ["First.", "Second."], figure, [section])


def svg_of(chart, **how):
    return ElementTree.fromstring(draw(chart, "what it shows", **how))


def test_every_block_is_in_the_page_and_in_markdown():
    blocks = [
        Text("plain"),
        Caution("careful"),
        Subheading("inside"),
        ItemList([("term", "said")]),
        TABLE,
    ]
    page = render_html(report(*blocks, figure=Figure([BARS], "bars")))
    text = render_markdown(report(*blocks, figure=Figure([BARS], "bars")))
    for word in ("The page", "First. Second.", "A note.", "plain", "careful", "inside", "said"):
        assert word in page
        assert word in text
    assert '<p class="warning">careful</p>' in page
    assert "**careful**" in text
    assert page.count("<svg") == 1
    assert "<svg" not in text
    assert "<script>" not in page + text
    assert "http" not in page


def test_sentences_are_joined_as_the_language_does(monkeypatch):
    monkeypatch.setattr("smstune.language._language", "zh")
    assert "First.Second." in render_html(report())
    assert '<html lang="zh-CN">' in render_html(report())


def test_a_table_in_each_format():
    (header, values) = csv.reader(io.StringIO(render_csv(TABLE)))
    assert header == list(TABLE.head)
    assert values == [HOSTILE, "0.25", "1200", ""]
    row = next(line for line in render_markdown(report(TABLE)).splitlines() if "alert" in line)
    assert row == r"| &lt;script>alert(1)&lt;/script> \| $x$ & 100 % | 0.250 | 1,200 | – |"
    latex = render_latex(TABLE)
    assert latex.startswith("\\begin{tabular}{lrrl}\n\\toprule\nname & share & n & note \\\\\n")
    assert r"| \$x\$ \& 100 \% & 0.250 & 1,200 & – \\" in latex


def test_a_table_of_the_terminal_has_80_columns():
    wide = Table(["label", *(f"score {n}" for n in range(6))], [["长标签" * 20, *range(6)]])
    lines = render_terminal(wide, "a title").splitlines()
    assert lines[0].strip() == "a title"
    assert max(len(line) + sum("一" <= c <= "鿿" for c in line) for line in lines) <= 80
    assert "[bold]" in render_terminal(Table(["a"], [["[bold]"]]))


def test_totals_are_those_of_rows_and_columns():
    counts = {("x", "train"): 3, ("x", "test"): 1, ("y", "train"): 2, ("y", "test"): 0}
    table = count_table("label", ["x", "y"], ["train", "test"], counts)
    assert table.rows == [["x", 3, 1, 4], ["y", 2, 0, 2], ["all", 5, 1, 6]]
    assert count_table("label", ["x"], ["train"], counts).rows == [["x", 3], ["all", 3]]


def test_colours_follow_sign_and_strength():
    table = Table(
        ["message"], [[Highlighted([("<b>", 2.0), (" ", None), ("贷", -1), ("的", 0.01)])]]
    )
    page = render_html(report(table))
    assert (
        '<span style="background:color-mix(in srgb,var(--for) 60%,transparent)" title="+2.00">'
        "&lt;b&gt;</span> "
        '<span style="background:color-mix(in srgb,var(--against) 30%,transparent)" title="-1.00">'
        "贷</span>的</td>"
    ) in page
    assert "<b> 贷的" in render_markdown(report(table)).replace("&lt;", "<")


def test_bars_are_as_long_as_their_values():
    rectangles = list(svg_of(BARS).iter("rect"))
    widths = [float(node.get("width")) for node in rectangles]
    starts = [float(node.get("x")) for node in rectangles]
    assert widths[0] == pytest.approx(3 * widths[1], abs=0.2)
    # Stacked: the second series begins where the first ends.
    assert starts[1] == pytest.approx(starts[0] + widths[0], abs=0.2)
    beside = BarChart(BARS.names, BARS.values_by_series, "messages", stacked=False)
    assert len({node.get("x") for node in svg_of(beside).iter("rect")}) == 1


def test_a_long_label_is_cut_and_shown_whole_to_a_pointer():
    drawing = draw(BARS, "bars")
    assert f"<title>{LONG}</title>" in drawing
    shown = re.findall(r">([^<>]*…)<", drawing)
    assert len(shown) == 1
    assert text_width(shown[0]) <= 150


def test_a_missing_point_breaks_the_line():
    (polyline,) = svg_of(LINES).iter("polyline")
    assert len(polyline.get("points").split()) == 2
    assert "dashed" in polyline.get("class")
    assert legend(LINES) == []
    assert [entry.name for entry in legend(BARS)] == ["train", "test"]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 0.1), (10, 0.9)], {"0", "0.2", "1.0"} - {"0"}),
        ([(0, 0.00002), (10, 0.0002)], {"5e-05", "0.0002"}),
        ([(0, 7.0), (10, 7.0)], {"7.00"}),
        ([], {"0.00"}),
    ],
)
def test_axes_have_round_numbers(points, expected):
    drawing = svg_of(LineChart([Line("a", points, 0)], "x", "y"))
    texts = {node.text for node in drawing.iter("text")}
    assert expected <= texts


def test_a_grid_shades_by_the_share_of_its_row():
    shades = [float(node.get("fill-opacity")) for node in svg_of(GRID).iter("rect")
              if node.get("fill-opacity")]  # fmt: skip
    assert shades == [pytest.approx(5 / 6, abs=0.01), pytest.approx(1 / 6, abs=0.01), 1]


@pytest.mark.parametrize("chart", [BARS, LINES, GRID, BarChart([], {"F1": []}, "F1")])
def test_a_drawing_is_the_same_each_time_and_has_no_colour_of_its_own(chart):
    drawing = draw(chart, HOSTILE)
    assert drawing == draw(chart, HOSTILE)
    assert "#" not in drawing
    assert "rgb" not in drawing
    assert ElementTree.fromstring(drawing).get("aria-label") == HOSTILE


def test_last_name_below_a_chart_is_not_cut_off():
    months = ["2026-01", "2026-02", "2026-03"]
    lines = [Line("F1", [(month, 0.5) for month in range(3)], 0)]
    svg = svg_of(LineChart(lines, "month", "F1", x_names=months))
    (last,) = [mark for mark in svg.iter() if mark.text == months[-1]]
    right_edge = float(svg.get("viewBox").split()[2])
    assert float(last.get("x")) + text_width(months[-1]) / 2 <= right_edge


def test_title_is_added_to_a_label_s_name_but_not_to_an_equal_text_of_ours(monkeypatch):
    monkeypatch.setattr("smstune.language._language", "zh")
    table = Table(["label", "kind"], [["delivery", Message("delivery")]])
    text = render_csv(table_with_titles(table, {"delivery": "delivery (快递通知)"}))
    assert text.splitlines()[1] == "delivery (快递通知),快递"


def test_axes_of_a_confusion_grid_and_shares_are_translated(monkeypatch):
    monkeypatch.setattr("smstune.language._language", "zh")
    page = render_html(report(Figure([GRID], "grid"), Text(share_text(0.125)), Text(percent(0.5))))
    for text in ("真实标签", "预测标签", "12.50%", "50%"):
        assert text in page
