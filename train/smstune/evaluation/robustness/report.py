"""The evasion suite as a part of the report: curves over strength, and every number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from smstune.reporting.charts import figure
from smstune.reporting.format import percent
from smstune.reporting.html import Section, table

_SCORES = {"macro_f1": "macro-F1", "recall": "recall", "false_positive_rate": "false positives"}
_COLOURS = {"macro_f1": "#5a9e6f", "recall": "#2f6fb3", "false_positive_rate": "#b42318"}


def robustness_section(suite: Mapping[str, Any]) -> Section:
    """Return the section of the report that shows ``metrics["robustness"]``."""
    if suite["harmful"] is None:
        meant = "No label or parent is named fraud or illegal: only macro-F1 has a value."
    else:
        meant = (
            f"Recall: the share of messages of {', '.join(suite['harmful'])} that get one of these "
            "labels; false positives: the share of all others that get one."
        )
    note = (
        f"{suite['n']:,} messages drawn from the split, each written otherwise by every transform; "
        f"strength is the share of places changed. {meant} Off: without the normaliser, personal "
        "information masked all the same. docs/robustness.md describes the transforms."
    )
    return Section("Evasion", note, [_curves(suite), _numbers(suite)])


def _numbers(suite: Mapping[str, Any]) -> Markup:
    head = ["transform", "strength", "changed"]
    head += [column for name in _SCORES.values() for column in (name, "off")]
    clean = suite["clean"]
    body: list[list[object]] = [
        ["none", "", "", *(clean[key] for key in _SCORES for _ in range(2))]
    ]
    body += [
        [
            row["transform"] + (" (trained on)" if row["trained_on"] else ""),
            f"{row['strength']:g}",
            percent(row["changed"]),
            *(row[side][key] for key in _SCORES for side in ("on", "off")),
        ]
        for row in suite["rows"]
    ]
    return table(head, body)


def _curves(suite: Mapping[str, Any]) -> Markup:
    names = list(dict.fromkeys(row["transform"] for row in suite["rows"]))
    shown = [key for key in _SCORES if suite["clean"][key] is not None]
    lines = -(-len(names) // 2)
    drawing = Figure(figsize=(5, 1.5 * lines + 0.5), layout="constrained")
    grid = drawing.subplots(lines, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        rows = [row for row in suite["rows"] if row["transform"] == name]
        places = [0.0, *(row["strength"] for row in rows)]
        for key in shown:
            for side, style in (("on", "-"), ("off", ":")):
                values = [suite["clean"][key], *(row[side][key] for row in rows)]
                label = _SCORES[key] + ("" if side == "on" else ", off")
                axes.plot(places, values, style, color=_COLOURS[key], marker=".", label=label)
        axes.set_title(name, fontsize=9)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(True, color="#d1d9e0")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    drawing.supxlabel("strength", fontsize=9)
    handles = dict(zip(*grid[0].get_legend_handles_labels()[::-1], strict=True))
    drawing.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=2, frameon=False,
        fontsize=8,
    )  # fmt: skip
    return figure(drawing, "Scores over strength for each transform; numbers below", narrow=True)
