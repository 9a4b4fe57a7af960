"""Warnings and report sections for the result of the shortcut check."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.data.report.sections import tenths
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
    SourceFeature,
)
from smstune.inference.label_names import list_names
from smstune.language import Message, joined
from smstune.reporting.charts import BarChart
from smstune.reporting.document import Block, Figure, Section, Table
from smstune.reporting.format import percent

#: Warn if style or source alone finds a label with at least this F1.
_WARN_FROM_LABEL_F1 = 0.9


def shortcut_warnings(check: ShortcutCheck) -> list[Message]:
    """Return a sentence for each reason why a high score would mean nothing."""
    sentences: list[Message] = []
    if check.rows >= MIN_ROWS * len(check.labels):
        sentences += _style_warning(check) + _source_score_warning(check)
    sentences += _give_away_warning(check)
    return sentences + ([_source_warning(check)] if check.source_style else [])


def _give_away_warning(check: ShortcutCheck) -> list[Message]:
    """Return one sentence for all labels that a feature gives away."""
    clues = [
        Message(
            "{label} ({feature}: {share} of its messages, {elsewhere} of the others)",
            label=list_names([give_away.label]),
            feature=give_away.feature,
            share=percent(give_away.share),
            elsewhere=percent(give_away.elsewhere),
        )
        for give_away in check.give_aways
        if give_away.kind
    ]
    if not clues:
        return []
    return [
        Message(
            "Labels that can be recognised without the content: {labels}. A 0.98 score that rests "
            "on this means nothing.",
            labels=joined(clues, "; "),
        )
    ]


def _style_warning(check: ShortcutCheck) -> list[Message]:
    if check.style is None:
        return []
    if _is_far_above_chance(check, check.style):
        return [
            Message(
                "A model that sees only style ({style}) and not one word of the content reaches "
                "macro-F1 {macro_f1:.2f}, where guessing reaches {chance:.2f}. A high score there "
                "need not mean that a model understands the messages.",
                style=STYLE,
                macro_f1=check.style.macro_f1,
                chance=check.chance.best,
            )
        ]
    if found := _found_labels(check.style):
        return [
            Message(
                "Labels that are found by style alone: {labels}. A high score there need not mean "
                "that a model understands the messages.",
                labels=joined(found, ", "),
            )
        ]
    return []


def _source_score_warning(check: ShortcutCheck) -> list[Message]:
    if check.source is None:
        return []
    if _is_far_above_chance(check, check.source):
        return [
            Message(
                "A model that sees only a message's source and not one word of the content "
                "reaches macro-F1 {macro_f1:.2f}, where guessing reaches {chance:.2f}. A high "
                "score there need not mean that a model understands the messages.",
                macro_f1=check.source.macro_f1,
                chance=check.chance.best,
            )
        ]
    if found := _found_labels(check.source):
        return [
            Message(
                "Labels that are found by source alone: {labels}. A high score there need not mean "
                "that a model understands the messages.",
                labels=joined(found, ", "),
            )
        ]
    return []


def _is_far_above_chance(check: ShortcutCheck, score: ModelScore) -> bool:
    chance = check.chance.best
    return score.macro_f1 - chance >= WARN_FROM * (1 - chance)


def _found_labels(score: ModelScore) -> list[Message]:
    return [
        Message("{label} (F1 {f1:.2f})", label=list_names([label]), f1=f1)
        for label, f1 in score.per_label.items()
        if f1 >= _WARN_FROM_LABEL_F1
    ]


def _source_warning(check: ShortcutCheck) -> Message:
    sentence = Message(
        "The sources differ in style ({differences}). {advice}",
        differences=joined(map(_difference, check.source_style[:3]), "; "),
        advice=_source_advice(check),
    )
    if any(difference.feature == "contains punctuation" for difference in check.source_style):
        return Message(
            "{sentence} `prepare.drop_punctuation: true` removes punctuation from all messages.",
            sentence=sentence,
        )
    return sentence


def _difference(difference: SourceFeature) -> Message:
    shares = [
        Message("{share} of {source}", share=percent(share), source=source)
        for source, share in difference.shares.items()
    ]
    return Message("{feature}: {shares}", feature=difference.feature, shares=joined(shares, ", "))


def _source_advice(check: ShortcutCheck) -> Message:
    labels_by_origin: dict[Message, list[str]] = {}
    for label, bound in check.one_source_labels.items():
        if bound.share == 1:
            origin = Message("found only in {source}", source=bound.source)
        else:
            origin = Message("found nearly only in {source}", source=bound.source)
        labels_by_origin.setdefault(origin, []).append(label)
    if not labels_by_origin:
        return Message("Look at the scores of each source by itself.")
    origins = [
        Message("{origin}: {labels}", origin=origin, labels=joined(labels, ", "))
        for origin, labels in labels_by_origin.items()
    ]
    return Message(
        "A model may learn the style of the source instead of the label ({origins}): a 0.98 score "
        "there means nothing. Add messages of these labels from another source, or test on a "
        "source held out.",
        origins=joined(origins, "; "),
    )


def shortcut_sections(check: ShortcutCheck, labels: Sequence[str]) -> list[Section]:
    """Return the sections on the shortcut check, with ``labels`` in this order."""
    sections = [_score_section(check, labels), _give_away_section(check)]
    if check.source_style:
        rows = [
            [difference.feature, *map(percent, difference.shares.values())]
            for difference in check.source_style
        ]
        shares = Table([Message("feature"), *check.source_style[0].shares], rows)
        note = Message("Share of the messages of each source that have a feature.")
        sections.append(Section(Message("How the sources differ"), note, [shares]))
    return sections


def _score_section(check: ShortcutCheck, labels: Sequence[str]) -> Section:
    rows: list[list[object]] = [
        [Message("guessing (majority)"), check.chance.majority],
        [Message("guessing (stratified)"), check.chance.stratified],
        [Message("style only"), check.style and check.style.macro_f1],
        [Message("source only"), check.source and check.source.macro_f1],
    ]
    blocks: list[Block] = [Table([Message("a model of"), Message("macro-F1")], rows)]
    if check.style:
        scores = [score for score in (check.style, check.source) if score]
        names = [label for label in labels if label in check.style.per_label]
        style_f1 = [check.style.per_label[name] for name in names]
        head = [Message("F1 of label"), Message("style only"), Message("source only")]
        chart = BarChart(names, {"F1": style_f1}, Message("F1, style only"))
        blocks.append(Figure([chart], Message("F1 by style alone")))
        body = [[name, *(score.per_label[name] for score in scores)] for name in names]
        blocks.append(Table(head[: len(scores) + 1], body))
    return Section(
        Message("Shortcut check"),
        Message(
            "Scores of a small model that sees only style ({style}) or only the source, measured "
            "by cross-validation with whole campaigns on {n_measured:,} of {total:,} messages. A "
            "score from {warn_from} of the way between guessing and 1 gives a warning.",
            style=STYLE,
            n_measured=check.rows,
            total=check.total,
            warn_from=percent(WARN_FROM),
        ),
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
            Message("yes") if give_away.kind else "",
        ]
        for give_away in check.give_aways
    ]
    head = [
        Message("feature"),
        Message("label"),
        Message("in label"),
        Message("elsewhere"),
        Message("lift"),
        Message("warning"),
    ]
    return Section(
        Message("What gives a label away"),
        Message(
            "Features whose share of a label's messages is at least {points:.0f} points above "
            "their share of the others. A feature gives a warning if it is in at least "
            "{common_min} of the label and at most {common_max} of the others, or in at least "
            "{only_min} and at most {only_max}. A feature can be legitimate: banks do sign their "
            "messages.",
            points=100 * MIN_LISTED_DIFFERENCE,
            common_min=percent(COMMON_MIN),
            common_max=percent(COMMON_MAX_ELSEWHERE),
            only_min=percent(ONLY_MIN),
            only_max=tenths(ONLY_MAX_ELSEWHERE),
        ),
        [Table(head, rows)],
    )
