"""Sections of the evaluation report on calibration, operating points, slices, errors, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from smstune.evaluation.report.figures import precision_recall_figure, reliability_figure
from smstune.evaluation.scores.gates import describe_gate
from smstune.reporting.format import interval_text, share_text, show
from smstune.reporting.html import Section, paragraph, table, warning

_MOST_SLICES = 40


def gate_section(metrics: Mapping[str, Any]) -> list[Section]:
    """Return what the gates ask for, those not kept first; nothing without gates."""
    gates = sorted(metrics["gates"], key=lambda row: bool(row["kept"]))
    if not gates:
        return []
    rows = [[describe_gate(row), "kept" if row["kept"] else "NOT KEPT"] for row in gates]
    return [Section("Gates", "", [table(["gate", ""], rows, text_columns=["gate"])])]


def operating_section(metrics: Mapping[str, Any]) -> Section:
    """Return each operating point: what validation promised, what this set shows."""
    note = (
        "A message's score is the summed probability of the guarded labels; from the threshold on "
        "it is blocked, from the review limit on a person looks. A campaign counts as hit as soon "
        "as one of its messages is. Shares depend on the mix of this set: real traffic has another."
    )
    if (compared := metrics["calibration"]["checkpoints_compared"]) > 1:
        note += (
            f" Validation also chose the best of {compared} checkpoints: its thresholds and bounds "
            f"stand at confidence 1 - (1 - c) / {compared} in place of c, so that the promise "
            "holds whichever was chosen."
        )
    parts: list[Markup] = []
    for point in metrics["operating_points"]:
        budget = ", ".join(f"{name} {value:g}" for name, value in point["budget"].items())
        title = f"{point['name']} guards {', '.join(point['labels'])}: {budget}"
        if point["reason"] is not None:
            parts.append(warning(f"{title}. There is no threshold: {point['reason']}."))
            continue
        sides = [point["validation"], point["observed"]]
        rows: list[list[object]] = [
            ["threshold", f"{point['threshold']:.6g}", ""],
            ["review from", "–" if (low := point["review_from"]) is None else f"{low:.6g}", ""],
        ]
        bound = f"its upper bound at {point['confidence']:g}"
        for name, key in (
            ("other campaigns hit", "false_positive_rate"),
            (bound, "false_positive_bound"),
            ("other messages hit", "message_false_positive_rate"),
            ("precision, messages", "precision"),
            ("recall, messages", "recall"),
            ("sent to review, of all", "review_share"),
            ("guarded, of those", "review_guarded"),
            ("recall if review is right", "recall_with_review"),
        ):
            rows.append([name, *(share_text(side[key]) for side in sides)])
        rows.append(["other campaigns", *(side["other_campaigns"] for side in sides)])
        parts += [paragraph(title), table(["", "validation", metrics["split"]], rows)]
    if not parts:
        note = (
            "None is configured, so nothing is blocked: evaluation.operating_points says what to "
            "stop at what price."
        )
    rates = [
        [
            row["group"],
            share_text(row["false_positive_rate"]),
            show(row["recall"]),
            interval_text(_rate_interval(metrics, row)),
            row["negatives"],
            row["undefined"]["recall"] if "undefined" in row else "",
        ]
        for row in metrics["recall_at_fpr"]
    ]
    head = ["recall at a false-positive rate", "rate", "recall", "95 %", "other messages", ""]
    return Section("Operating points", note, [*parts, table(head, rates)])


def ranking_section(metrics: Mapping[str, Any]) -> Section:
    """Return the precision-recall curves of the groups of labels."""
    note = "The best precision that reaches at least so much recall, each group against the rest."
    curves = metrics["precision_recall"]
    return Section(
        "Precision and recall", note, [precision_recall_figure(curves)] if curves else []
    )


def calibration_section(metrics: Mapping[str, Any]) -> Section:
    """Return the reliability diagram before and after calibration."""
    found = metrics["calibration"]
    fitted = found["fitted_on"]
    note = "This run's calibration was not fitted: smstune eval RUN --calibrate does it."
    if fitted:
        before, after = found["before"]["ece"], found["after"]["ece"]
        note = (
            f"Temperature {found['temperature']:.3f}, fitted on {fitted['messages']:,} messages of "
            f"{fitted['split']}; expected calibration error of this set {before:.4f} before, "
            f"{after:.4f} after. Bins of equal mass."
        )
    if found["linear_weight"]:
        alone, joined = (fitted[when]["macro_f1"] for when in ("before", "after"))
        note += (
            f" The linear model's scores are added {found['linear_weight']:.2f} times: macro-F1 on "
            f"{fitted['split']} {alone:.3f} without, {joined:.3f} with it."
        )
    return Section("Calibration", note, [reliability_figure(found)])


def slice_section(metrics: Mapping[str, Any]) -> list[Section]:
    """Return the slices of the lowest accuracy first."""
    if not metrics["slices"]:
        return []
    head = ["slice", "messages", "campaigns", "accuracy", "95 %", "macro-F1", "parent right"]
    rows = [
        [
            row["slice"],
            row["n"],
            row["campaigns"],
            row["accuracy"],
            interval_text(row["ci"]),
            row["macro_f1"],
            row.get("coarse_accuracy"),
        ]
        for row in metrics["slices"][:_MOST_SLICES]
    ]
    note = (
        "The worst first. Kinds of messages are told by simple rules; hard twins are messages with "
        "a near copy under another parent, such as a notice and its forgery."
    )
    return [Section("Slices", note, [table(head, rows)])]


def error_section(errors: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    """Return the telling mistakes, their personal information masked."""
    titles = {
        "confident_mistakes": "Most confident mistakes",
        "uncertain_hits": "Least certain hits",
        "campaigns": "Campaigns with most mistakes",
    }
    sections = []
    for key, title in titles.items():
        rows = errors.get(key, ())
        if not rows:
            continue
        head = ["label", "answer", "probability", "message"]
        body = [[row["label"], row["answer"], row["probability"], row["text"]] for row in rows]
        if key == "campaigns":
            head = ["wrong", "of", *head]
            body = [
                [row["mistakes"], row["messages"], *cells]
                for row, cells in zip(rows, body, strict=True)
            ]
        sections.append(Section(title, "", [table(head, body, text_columns=["message"])]))
    return sections


def explanation_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Return the messages of ``explain_errors`` in colours, with the check by deletion."""
    areas = [sum(row[key] for row in rows) / len(rows) for key in ("deletion_area", "random_area")]
    note = (
        "Integrated gradients of the answer's log-odds, in fp32: red speaks for the answer, blue "
        "against it, as strongly as the colour; numbers are in nats and add up to the difference "
        "from the message without tokens. Check: taken out from the highest score down, tokens "
        f"leave a mean area of {areas[0]:.3f} under the curve of the answer's probability, at "
        f"random {areas[1]:.3f}; where the first is not the smaller, do not trust the colours. "
        "They show what this model reads, not why a message is what it is."
    )
    head = ["message", "answer", "label", "", "strongest", "probability", "area", "at random"]
    body = [
        [
            coloured(row["pieces"]),
            row["label"],
            row["true_label"],
            row["kind"],
            _strongest(row["pieces"]),
            row["probability"],
            row["deletion_area"],
            row["random_area"],
        ]
        for row in rows
    ]
    wide = ["message", "strongest"]
    return Section("What answers rest on", note, [table(head, body, text_columns=wide)])


def coloured(pieces: Sequence[tuple[str, float | None]]) -> Markup:
    """Return a message with each piece coloured by its score, the strongest one most."""
    most = max((abs(score) for _, score in pieces if score is not None), default=0.0)
    parts = []
    for text, score in pieces:
        strength = 0.0 if not score else abs(score) / most
        if score is None or strength < 0.02:
            parts.append(escape(text))
            continue
        colour = "214,60,50" if score > 0 else "40,110,220"
        parts.append(
            Markup('<span style="background:rgba({},{:.2f})" title="{:+.2f}">{}</span>').format(
                Markup(colour), 0.6 * strength, score, text
            )
        )
    return Markup("").join(parts)


def _strongest(pieces: Sequence[tuple[str, float | None]], most: int = 4) -> str:
    scored = [(text, score) for text, score in pieces if score is not None]
    scored.sort(key=lambda piece: -abs(piece[1]))
    return ", ".join(f"{text} {score:+.2f}" for text, score in scored[:most])


def limit_section(metrics: Mapping[str, Any]) -> Section:
    """Return what these numbers do not say."""
    rare = [name for name, row in metrics["per_label"].items() if row["support"] < 20]
    lines = [
        "Numbers hold for messages like these: other senders, months and tricks need a set of "
        "their own.",
        "Copies of a message are merged in prepared data, so shares are of distinct messages and "
        "not of traffic.",
        "Intervals tell the chance of the draw of campaigns, not that of training with another "
        "seed: smstune compare takes several.",
        "The interval of the calibration error lies somewhat high, as gaps only add up.",
    ]
    if rare:
        lines.append(f"Fewer than 20 messages, so hardly a number: {', '.join(rare)}.")
    return Section("Limits", "", [paragraph(line) for line in lines])


def _rate_interval(metrics: Mapping[str, Any], row: Mapping[str, Any]) -> list[float] | None:
    rates = metrics["ci"].get("recall_at_fpr", {}).get(row["group"], {})
    bounds: list[float] | None = rates.get(str(row["false_positive_rate"]))
    return bounds
