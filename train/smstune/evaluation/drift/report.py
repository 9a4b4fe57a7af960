"""drift.html: what has moved, how far, and out of how many messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from smstune.evaluation.drift.stability import ANSWER
from smstune.reporting.charts import figure
from smstune.reporting.format import interval_text, share_text
from smstune.reporting.html import Section, render_page, table, warning

_OLD, _NEW = "#9198a1", "#2f6fb3"


def render_drift(drift: Mapping[str, Any]) -> str:
    """Return the page for what ``measure_drift`` found."""
    reference, new = drift["reference"], drift["new"]
    summary = (
        f"{new['messages']:,} messages of {new['path']} ({new['distinct']:,} distinct, "
        f"{new['campaigns']:,} campaigns; {new['unusable']:,} rows could not be used) beside the "
        f"{reference['distinct']:,} of the run's {reference['split']} split "
        f"({reference['campaigns']:,} campaigns). Copies of a message count once, as in prepared "
        "data. No label was needed."
    )
    sections = [
        _label_section(drift),
        _confidence_section(drift),
        _stability_section(drift),
        _reading_section(drift),
        _month_section(drift),
    ]
    return render_page(f"Drift of {new['name']} from {drift['run']}", summary, sections)


def _label_section(drift: Mapping[str, Any]) -> Section:
    rows = drift["labels"]
    shifted = sum(row["shifted"] for row in rows)
    old, new = drift["reference"], drift["new"]
    note = (
        f"Shares of the run's answers, not of the truth. {shifted} of {len(rows)} labels are shown "
        "to have another share of campaigns (Fisher's exact test, corrected by Holm; differences of"
        " campaign shares, intervals by Newcombe, of one label each). Not shown is not equal: "
        "look at the interval."
    )
    head = [
        "label", old["split"], new["name"], "", f"campaigns of {old['campaigns']:,}",
        f"of {new['campaigns']:,}", "difference", "95 %", "p (Holm)",
    ]  # fmt: skip
    body = [
        [
            row["label"],
            share_text(row["reference"]),
            share_text(row["new"]),
            "shifted" if row["shifted"] else "not shown",
            *row["campaigns"],
            row["difference"],
            interval_text(row["ci"]),
            "under 0.001" if row["p_holm"] < 0.001 else row["p_holm"],
        ]
        for row in rows
    ]
    return Section("Answers", note, [_label_bars(drift), table(head, body)])


def _label_bars(drift: Mapping[str, Any]) -> Markup:
    rows = drift["labels"]
    drawing = Figure(figsize=(5, 1 + 0.36 * len(rows)))
    axes = drawing.subplots()
    places = np.arange(len(rows))
    names = ((drift["reference"]["split"], "reference", _OLD), (drift["new"]["name"], "new", _NEW))
    for at, (name, key, colour) in enumerate(names):
        shares = [100 * row[key] for row in rows]
        axes.barh(places + 0.38 * at - 0.19, shares, 0.38, color=colour, label=_plain(name))
    axes.set_yticks(places, [_plain(row["label"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("% of messages")
    axes.xaxis.grid(True, color="#d1d9e0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    description = "Share of each answer on both sides; the table below holds the numbers"
    return figure(drawing, description, narrow=True)


def _confidence_section(drift: Mapping[str, Any]) -> Section:
    sides = drift["confidence"]
    rows = []
    for key, of in (("reference", drift["reference"]), ("new", drift["new"])):
        name = of.get("split") or of["name"]
        rows.append([name, of["distinct"], of["campaigns"], *sides[key].values()])
    head = ["", "messages", "campaigns", *sides["new"]]
    note = "The probability of the answer. Whether it moved: the row confidence of the next table."
    return Section("Confidence", note, [table(head, rows)])


def _stability_section(drift: Mapping[str, Any]) -> Section:
    old, new = drift["reference"], drift["new"]
    note = (
        "Population stability index, bins by deciles of the reference, an empty bin counted as "
        "half a message. Rules of thumb of credit scoring, no law (Siddiqi, Credit Risk "
        "Scorecards, 2006): below 0.1 stable, to 0.25 some shift, above it shift. Two samples of "
        "one population have an index above 0, too: what is not above the chance level (simulated "
        f"for {old['campaigns']:,} and {new['campaigns']:,} campaigns, corrected for the number of "
        "rows) shows no shift. A kind of placeholder, or an unknown token, is there (1) or not (0)."
    )
    rows = [[row["feature"], row["reading"], row["psi"], row["chance"]] for row in drift["psi"]]
    parts = [table(["feature", "reading", "index", "chance level"], rows)]
    bins = [
        [row["feature"], _bin_name(row["bins"], at), one["reference"], one["new"]]
        for row in drift["psi"]
        for at, one in enumerate(row["bins"])
        if row["reading"] in ("some shift", "shift") and row["feature"] != ANSWER
    ]
    if bins:
        head = ["feature", "from, up to", old["split"], new["name"]]
        parts.append(table(head, bins))
    return Section("Stability", note, parts)


def _bin_name(bins: list[dict[str, Any]], at: int) -> str:
    below, top = bins[at - 1]["up_to"] if at else None, bins[at]["up_to"]
    if top is None:
        return f"above {below:.4g}" if below is not None else "all"
    return f"up to {top:.4g}" if below is None else f"{below:.4g} to {top:.4g}"


def _reading_section(drift: Mapping[str, Any]) -> Section:
    unknown, unseen = drift["unknown_tokens"], drift["no_known_campaign"]
    rows = []
    for key, of in (("reference", drift["reference"]), ("new", drift["new"])):
        rows.append(
            [
                of.get("split") or of["name"],
                of["distinct"],
                share_text(unseen[key]),
                unknown[key]["tokens"],
                share_text(unknown[key]["rate"]),
                unknown[key]["messages"],
            ]
        )
    head = [
        "", "messages", "in no campaign of train", "tokens", "of them unknown",
        "messages with one",
    ]  # fmt: skip
    note = (
        "A message is in a known campaign if it is a near copy of one that the run was trained on. "
        "A split by campaign leaves none in its own splits, so only the new share says something. "
        "Unknown tokens are what the vocabulary lacks: another script, or rare variants."
    )
    parts = [table(head, rows)]
    if unknown["new"]["rate"] > 0.2:
        parts.insert(0, warning("More than a fifth of the tokens is unknown to the model: another "
                                "language or script? Its answers mean little."))  # fmt: skip
    return Section("What the run has not seen", note, parts)


def _month_section(drift: Mapping[str, Any]) -> Section:
    rows, unknown = drift["months"], drift["new"]["unknown"]
    if not rows:
        return Section("Months", "The messages have no time that can be read.")
    head = ["month", "messages", "campaigns", "confidence", "labelled", "accuracy", "95 %",
            "macro-F1", "95 %"]  # fmt: skip
    body = [
        [
            row["month"],
            row["messages"],
            row["campaigns"],
            row["confidence"],
            row["labelled"],
            row["accuracy"],
            interval_text(row["accuracy_ci"]),
            row["macro_f1"],
            interval_text(row["macro_f1_ci"]),
        ]
        for row in rows
    ]
    note = (
        "Scores are of the messages that have a label of the run, macro-F1 over the labels of the "
        "month, so that months of other labels do not compare. Intervals are over campaigns, each "
        "of one month: of twenty equal months one lies outside by chance. Macro-F1 has none where "
        "every draw gives the same."
    )
    if unknown:
        note += f" {unknown:,} messages have a label that the run does not know."
    labelled = any(row["labelled"] for row in rows)
    return Section(
        "Months", note, [*([_month_curves(rows)] if labelled else []), table(head, body)]
    )


def _month_curves(rows: list[dict[str, Any]]) -> Markup:
    rows = [row for row in rows if row["labelled"]]
    drawing = Figure(figsize=(5, 3))
    axes = drawing.subplots()
    places = np.arange(len(rows))
    for shift, (key, name, colour) in enumerate(
        (("accuracy", "accuracy", _NEW), ("macro_f1", "macro-F1", "#e0a030"))
    ):
        values = np.array([row[key] for row in rows])
        bounds = np.array(
            [row[f"{key}_ci"] or (value, value) for row, value in zip(rows, values, strict=True)]
        )
        spread = np.abs(bounds.T - values)
        at = places + 0.12 * shift - 0.06
        axes.errorbar(at, values, spread, color=colour, marker="o", markersize=4, label=name)
    every = max(1, len(rows) // 8)
    axes.set_xticks(places[::every], [row["month"] for row in rows[::every]], rotation=45)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.grid(True, color="#d1d9e0")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return figure(drawing, "Accuracy and macro-F1 by month; numbers below", narrow=True)


def _plain(text: str) -> str:
    # A dollar sign would open a formula.
    return text.replace("$", r"\$")
