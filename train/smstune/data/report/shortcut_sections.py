"""Warnings and report sections for the result of the shortcut check."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.data.report.shortcuts import (
    COMMON_MAX_ELSEWHERE,
    COMMON_MIN,
    MIN_LISTED_DIFFERENCE,
    MIN_ROWS,
    ONLY_MAX_ELSEWHERE,
    ONLY_MIN,
    STYLE,
    WARN_FROM,
    ModelScore,
    ShortcutCheck,
)
from smstune.inference.label_names import list_names
from smstune.reporting.charts import BarChart
from smstune.reporting.document import Block, Figure, Section, Table
from smstune.reporting.format import percent

#: Warn if style or source alone finds a label with at least this F1.
_WARN_FROM_LABEL_F1 = 0.9


def shortcut_warnings(check: ShortcutCheck) -> list[str]:
    """Return a sentence for each reason why a high score would mean nothing."""
    sentences = []
    if check.rows >= MIN_ROWS * len(check.labels):
        sentences += _score_warnings(check, check.style, "style", f"style ({STYLE})")
        sentences += _score_warnings(check, check.source, "source", "a message's source")
    sentences += _give_away_warning(check)
    return sentences + ([_source_warning(check)] if check.source_style else [])


def _give_away_warning(check: ShortcutCheck) -> list[str]:
    """Return one sentence for all labels that a feature gives away."""
    clues = [
        f"{list_names([give_away.label])} ({give_away.feature}: {percent(give_away.share)} of its "
        f"messages, {percent(give_away.elsewhere)} of the others)"
        for give_away in check.give_aways
        if give_away.kind
    ]
    if not clues:
        return []
    return [
        f"Labels that can be recognised without the content: {'; '.join(clues)}. "
        "A 98 % score that rests on this means nothing."
    ]


def _score_warnings(
    check: ShortcutCheck, score: ModelScore | None, name: str, sees: str
) -> list[str]:
    if score is None:
        return []
    chance = check.chance.best
    advice = "A high score there need not mean that a model understands the messages."
    if score.macro_f1 - chance >= WARN_FROM * (1 - chance):
        return [
            f"A model that sees only {sees} and not one word of the content reaches macro-F1 "
            f"{score.macro_f1:.2f}, where guessing reaches {chance:.2f}. {advice}"
        ]
    found = [
        f"{list_names([label])} (F1 {f1:.2f})"
        for label, f1 in score.per_label.items()
        if f1 >= _WARN_FROM_LABEL_F1
    ]
    return [f"Labels that are found by {name} alone: {', '.join(found)}. {advice}"] if found else []


def _source_warning(check: ShortcutCheck) -> str:
    differences = "; ".join(
        f"{difference.feature}: "
        + ", ".join(f"{percent(share)} of {source}" for source, share in difference.shares.items())
        for difference in check.source_style[:3]
    )
    labels_by_origin: dict[str, list[str]] = {}
    for label, bound in check.one_source_labels.items():
        origin = f"found {'only' if bound.share == 1 else 'nearly only'} in {bound.source}"
        labels_by_origin.setdefault(origin, []).append(label)
    if not labels_by_origin:
        advice = "Look at the scores of each source by itself."
    else:
        origins = "; ".join(
            f"{origin}: {', '.join(labels)}" for origin, labels in labels_by_origin.items()
        )
        advice = (
            f"A model may learn the style of the source instead of the label ({origins}): a 98 % "
            "score there means nothing. Add messages of these labels from another source, or test "
            "on a source held out."
        )
    if any(difference.feature == "contains punctuation" for difference in check.source_style):
        advice += " `prepare.drop_punctuation: true` removes punctuation from all messages."
    return f"The sources differ in style ({differences}). {advice}"


def shortcut_sections(check: ShortcutCheck, labels: Sequence[str]) -> list[Section]:
    """Return the sections on the shortcut check, with ``labels`` in this order."""
    sections = [_score_section(check, labels), _give_away_section(check)]
    if check.source_style:
        rows = [
            [difference.feature, *map(percent, difference.shares.values())]
            for difference in check.source_style
        ]
        shares = Table(["feature", *check.source_style[0].shares], rows)
        note = "Share of the messages of each source that have a feature."
        sections.append(Section("How the sources differ", note, [shares]))
    return sections


def _score_section(check: ShortcutCheck, labels: Sequence[str]) -> Section:
    rows: list[list[object]] = [
        ["guessing (majority)", check.chance.majority],
        ["guessing (stratified)", check.chance.stratified],
        ["style only", check.style and check.style.macro_f1],
        ["source only", check.source and check.source.macro_f1],
    ]
    blocks: list[Block] = [Table(["a model of", "macro-F1"], rows)]
    if check.style:
        scores = [score for score in (check.style, check.source) if score]
        names = [label for label in labels if label in check.style.per_label]
        style_f1 = [check.style.per_label[name] for name in names]
        head = ["F1 of label", "style only", "source only"][: len(scores) + 1]
        blocks.append(
            Figure([BarChart(names, {"F1": style_f1}, "F1, style only")], "F1 by style alone")
        )
        body = [[name, *(score.per_label[name] for score in scores)] for name in names]
        blocks.append(Table(head, body))
    return Section(
        "Shortcut check",
        f"Scores of a small model that sees only style ({STYLE}) or only the source, measured by "
        f"cross-validation with whole campaigns on {check.rows:,} of {check.total:,} messages. A "
        f"score from {percent(WARN_FROM)} of the way between guessing and 1 gives a warning.",
        blocks,
    )


def _give_away_section(check: ShortcutCheck) -> Section:
    rows = [
        [
            give_away.feature,
            give_away.label,
            percent(give_away.share),
            percent(give_away.elsewhere),
            give_away.lift and f"{give_away.lift:.1f}",
            "yes" if give_away.kind else "",
        ]
        for give_away in check.give_aways
    ]
    head = ["feature", "label", "in label", "elsewhere", "lift", "warning"]
    return Section(
        "What gives a label away",
        "Features whose share of a label's messages is at least "
        f"{100 * MIN_LISTED_DIFFERENCE:.0f} points above their share of the others. A feature "
        f"gives a warning if it is in at least {percent(COMMON_MIN)} of the label and at most "
        f"{percent(COMMON_MAX_ELSEWHERE)} of the others, or in at least {percent(ONLY_MIN)} and at "
        f"most {100 * ONLY_MAX_ELSEWHERE:.1f} %. A feature can be legitimate: banks do sign their "
        "messages.",
        [Table(head, rows)],
    )
