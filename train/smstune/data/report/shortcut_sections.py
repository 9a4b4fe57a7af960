"""What the shortcut check found, as a part of the data report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smstune.data.report.shortcuts import STYLE
from smstune.reporting.charts import bars
from smstune.reporting.format import percent
from smstune.reporting.html import Section, table

_MODELS = ("style", "source")


def shortcut_sections(style: Mapping[str, Any], labels: Sequence[str]) -> list[Section]:
    """Return the sections of what ``check_shortcuts`` found, ``labels`` in this order."""
    limits = style["thresholds"]
    scores = [[f"chance ({name})", value] for name, value in style["chance"].items()]
    scores += [[f"{key} only", style[key] and style[key]["macro_f1"]] for key in _MODELS]
    parts = [table(["a model of", "macro-F1"], scores)]
    if style["style"]:
        f1 = {f"{key} only": style[key]["per_label"] for key in _MODELS if style[key]}
        names = [label for label in labels if label in style["style"]["per_label"]]
        drawn = [f1["style only"][name] for name in names]
        parts.append(bars(names, {"F1": drawn}, "F1, style only", "F1 by style alone as bars"))
        body = [[name, *(found[name] for found in f1.values())] for name in names]
        parts.append(table(["F1 of label", *f1], body))
    rows = [
        [row["feature"], row["label"], percent(row["share"]), percent(row["elsewhere"]),
         row["lift"] and f"{row['lift']:.1f}", "yes" if row["kind"] else ""]
        for row in style["give_aways"]
    ]  # fmt: skip
    sections = [
        Section(
            "Shortcut check",
            f"What a small model reaches that sees only style ({STYLE}) or only the source, out "
            f"of fold, campaigns whole, on {style['rows']:,} of {style['of']:,} messages. Warned "
            f"of from {percent(limits['headroom'])} of the way between chance and 1.",
            parts,
        ),
        Section(
            "What gives a label away",
            f"Features {100 * limits['listed']:.0f} points or more above their share elsewhere. "
            f"Warned of: in {percent(limits['common'])} of it and at most "
            f"{percent(limits['rare'])} of the others, or in {percent(limits['some'])} and at most "
            f"{100 * limits['never']:.1f} %. A feature can be honest: banks do sign.",
            [table(["feature", "label", "in it", "elsewhere", "lift", "warned of"], rows)],
        ),
    ]
    if style["source_style"]:
        rows = [
            [row["feature"], *map(percent, row["shares"].values())] for row in style["source_style"]
        ]
        shares = table(["feature", *style["source_style"][0]["shares"]], rows)
        note = "Shares of the messages of each source that have a feature."
        sections.append(Section("How the sources differ", note, [shares]))
    return sections
