"""Sections of the evaluation report on calibration, operating points, slices, errors, limits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smstune.evaluation.calibration.cascade import reason_for_none as reason_for_no_cascade
from smstune.evaluation.calibration.operating_points import ObservedPoint
from smstune.evaluation.calibration.operating_points import reason_for_none as reason_for_no_point
from smstune.evaluation.evaluated import set_name
from smstune.evaluation.metrics import CalibrationFacts, Metrics
from smstune.evaluation.mistakes.attribution import ExplainedAnswer
from smstune.evaluation.mistakes.mistakes import InstructiveAnswers, ShownAnswer
from smstune.evaluation.report.figures import precision_recall_blocks, reliability_blocks
from smstune.evaluation.scores.gates import describe_gate
from smstune.evaluation.scores.results import GateResult, RecallAtRate, SliceScores
from smstune.inference.decision import PointScores
from smstune.language import Message
from smstune.reporting.document import Block, Caution, Highlighted, Section, Table, Text
from smstune.reporting.format import interval_text, share_text

_MAX_SLICES = 40
_MAX_PIECES = 4
#: Scores of labels with fewer messages are hardly meaningful.
_RARE = 20
#: Columns that every set has; others are named by the user.
_COLUMNS = (Message("parent"), Message("source"), Message("month"))
_LENGTHS = re.compile(r"(\d+) to (\d+) characters")


def gate_section(gates: Sequence[GateResult]) -> list[Section]:
    """Return what the gates ask for, those that are missed first; nothing without gates."""
    if not gates:
        return []
    rows = [
        [describe_gate(gate), Message("kept") if gate.kept else Message("MISSED")]
        for gate in sorted(gates, key=lambda gate: gate.kept)
    ]
    table = Table([Message("gate"), ""], rows, text_columns=[Message("gate")])
    return [Section(Message("Gates"), "", [table])]


def operating_section(metrics: Metrics) -> Section:
    """Return each operating point: its guarantee from validation, and the result on this set."""
    compared = metrics.calibration.checkpoints_compared
    blocks: list[Block] = []
    for point in metrics.operating_points:
        blocks += _point_blocks(point, metrics.split, compared)
    rates = [
        [
            row.group,
            share_text(row.false_positive_rate),
            row.recall,
            interval_text(_rate_interval(metrics, row)),
            row.negatives,
            Message(row.undefined.get("recall", "")),
        ]
        for row in metrics.recall_at_fpr
    ]
    head = [
        Message("recall at a false-positive rate"),
        Message("rate"),
        Message("recall"),
        Message("95 %"),
        Message("other messages"),
        "",
    ]
    note = _operating_note(bool(blocks), compared)
    return Section(Message("Operating points"), note, [*blocks, Table(head, rates)])


def _operating_note(is_configured: bool, checkpoints_compared: int) -> str:
    if not is_configured:
        return Message(
            "No operating point is configured, so nothing is blocked. Set "
            "evaluation.operating_points to block labels within a budget."
        )
    note = Message(
        "A message's score is the summed probability of the labels that a point guards against. "
        "A message is blocked if its score reaches the threshold, and sent to review if it reaches "
        "the review limit. Harmless means: of a label that the point does not guard. A harmless "
        "campaign counts as blocked if any of its messages is. Shares depend on the mix of this "
        "set; real traffic has another."
    )
    if checkpoints_compared == 1:
        return note
    return Message(
        "{note} Validation also chose the best of {n_checkpoints} checkpoints, so its thresholds "
        "and bounds use the confidence 1 - (1 - c) / {n_checkpoints} in place of c: the promise "
        "holds whichever checkpoint was chosen.",
        note=note,
        n_checkpoints=checkpoints_compared,
    )


def _point_blocks(point: ObservedPoint, split: str, checkpoints_compared: int) -> list[Block]:
    title = Message(
        "{point} guards against {labels}: {budget}",
        point=point.name,
        labels=", ".join(point.labels),
        budget=", ".join(f"{name} {value:g}" for name, value in point.budget.items()),
    )
    if point.threshold is None:
        reason = reason_for_no_point(point, checkpoints_compared)
        return [
            Caution(
                Message("{title}. There is no threshold: {reason}.", title=title, reason=reason)
            )
        ]
    review_from = "–" if point.review_from is None else f"{point.review_from:.6g}"
    rows: list[list[object]] = [
        [Message("threshold"), f"{point.threshold:.6g}", ""],
        [Message("review from"), review_from, ""],
    ]
    on_validation, on_split = (
        _point_column(point, point.validation),
        _point_column(point, point.observed),
    )
    rows += [[name, on_validation[name], on_split[name]] for name in on_split]
    return [Text(title), Table(["", Message("validation"), set_name(split)], rows)]


def _point_column(point: ObservedPoint, facts: object) -> dict[str, object]:
    """Return the rows of a point's table for one set, by their names."""
    if not isinstance(facts, PointScores):
        return {}
    bound_at = Message("its upper bound at {confidence:g}", confidence=point.confidence)
    return {
        Message("harmless campaigns blocked"): share_text(facts.false_positive_rate),
        bound_at: share_text(facts.false_positive_bound),
        Message("harmless messages blocked"): share_text(facts.message_false_positive_rate),
        Message("precision, messages"): share_text(facts.precision),
        Message("recall, messages"): share_text(facts.recall),
        Message("sent to review"): share_text(facts.review_share),
        Message("harmful share of the reviewed"): share_text(facts.review_guarded),
        Message("recall if every review is decided correctly"): share_text(
            facts.recall_with_review
        ),
        Message("harmless campaigns"): facts.other_campaigns,
    }


def ranking_section(metrics: Metrics) -> Section:
    """Return the precision-recall curves of the groups of labels."""
    note = Message(
        "Highest precision at each recall or above, for each group of labels against all others."
    )
    curves = metrics.precision_recall
    blocks = precision_recall_blocks(curves) if curves else []
    return Section(Message("Precision and recall"), note, blocks)


def calibration_section(calibration: CalibrationFacts) -> Section:
    """Return the reliability diagram before and after calibration."""
    fit = calibration.fitted_on
    note = Message("This run's calibration was not fitted: smstune eval RUN --calibrate does it.")
    if fit is not None:
        note = Message(
            "Temperature {temperature:.3f}, fitted on {n_messages:,} messages of {set_name}; "
            "expected calibration error of this set {before:.4f} before, {after:.4f} after. Bins "
            "of equal mass.",
            temperature=calibration.temperature,
            n_messages=fit.messages,
            set_name=set_name(fit.split),
            before=calibration.before.ece,
            after=calibration.after.ece,
        )
        if calibration.linear_weight:
            note = Message(
                "{note} The linear model's scores are added {weight:.2f} times: macro-F1 on "
                "{set_name} is {without:.3f} without and {joined:.3f} with it.",
                note=note,
                weight=calibration.linear_weight,
                set_name=set_name(fit.split),
                without=fit.before.macro_f1,
                joined=fit.after.macro_f1,
            )
    return Section(Message("Calibration"), note, reliability_blocks(calibration))


def cascade_section(calibration: CalibrationFacts, split: str) -> list[Section]:
    """Return what the cascade promises and how much it answers early; nothing without one."""
    cascade = calibration.cascade
    if cascade is None:
        return []
    if cascade.threshold is None or cascade.validation is None:
        n_campaigns = calibration.fitted_on.campaigns if calibration.fitted_on else 0
        reason = reason_for_no_cascade(cascade, n_campaigns, calibration.checkpoints_compared)
        caution = Caution(Message("There is no cascade: {reason}.", reason=reason))
        return [Section(Message("Cascade"), "", [caution])]
    scores = cascade.validation
    note = Message(
        "The linear model alone answers a message if its two best scores have a margin of at least "
        "{threshold:g}; encoder and linear model together answer the others. The threshold is the "
        "lowest at which, on validation, the upper bound of the share of campaigns with another "
        "answer than without the cascade stays within {max_changed:g}, at confidence "
        "{confidence:g}.",
        threshold=cascade.threshold,
        max_changed=cascade.max_changed,
        confidence=cascade.confidence,
    )
    if calibration.checkpoints_compared > 1:
        note = Message(
            "{note} As for operating points, the confidence is corrected for the choice among "
            "{n_checkpoints} checkpoints.",
            note=note,
            n_checkpoints=calibration.checkpoints_compared,
        )
    rows: list[list[object]] = [
        [
            Message("messages answered early"),
            share_text(scores.early_share),
            share_text(calibration.early_share),
        ],
        [Message("campaigns with another answer"), share_text(scores.changed_share), ""],
        [Message("its upper bound"), share_text(scores.bound), ""],
    ]
    table = Table(["", Message("validation"), set_name(split)], rows)
    return [Section(Message("Cascade"), note, [table])]


def slice_section(slices: Sequence[SliceScores]) -> list[Section]:
    """Return the slices of the lowest accuracy first."""
    if not slices:
        return []
    head = [
        Message("slice"),
        Message("number of messages"),
        Message("campaigns"),
        Message("accuracy"),
        Message("95 %"),
        Message("macro-F1"),
        Message("parent right"),
    ]
    rows = [
        [
            _slice_title(row.slice),
            row.n,
            row.campaigns,
            row.accuracy,
            interval_text(row.ci),
            row.macro_f1,
            row.coarse_accuracy,
        ]
        for row in slices[:_MAX_SLICES]
    ]
    note = Message(
        "The worst first. Simple rules tell the kinds of messages apart. Hard twins are messages "
        "with a near copy under another parent, such as a notice and its forgery."
    )
    return [Section(Message("Slices"), note, [Table(head, rows)])]


def _slice_title(name: str) -> str:
    """Return a slice's name for people; a value of a column stays as it is."""
    if lengths := _LENGTHS.fullmatch(name):
        return Message(
            "{shortest} to {longest} characters", shortest=lengths[1], longest=lengths[2]
        )
    column, separator, value = name.partition("=")
    if not separator:
        return Message(name)
    if column not in _COLUMNS:
        return name
    return Message("{column}={value}", column=Message(column), value=value)


def answer_sections(answers: InstructiveAnswers) -> list[Section]:
    """Return the answers worth a look; personal information is masked."""
    head = [Message("label"), Message("answer"), Message("probability"), Message("message")]
    sections = [
        Section(title, "", [Table(head, [_answer_row(row) for row in rows], [Message("message")])])
        for title, rows in (
            (Message("Most confident mistakes"), answers.confident_mistakes),
            (Message("Least certain hits"), answers.uncertain_hits),
        )
        if rows
    ]
    if answers.campaigns:
        rows = [
            [campaign.mistakes, campaign.messages, *_answer_row(campaign.example)]
            for campaign in answers.campaigns
        ]
        table = Table([Message("wrong"), Message("of"), *head], rows, [Message("message")])
        sections.append(Section(Message("Campaigns with most mistakes"), "", [table]))
    return sections


def _answer_row(row: ShownAnswer) -> list[object]:
    return [row.label, row.answer, row.probability, row.text]


def explanation_section(explained: Sequence[ExplainedAnswer]) -> Section:
    """Return explained messages in colours, with the check by deletion."""
    note = Message(
        "Integrated gradients of the answer's log-odds, in fp32: red speaks for the answer, blue "
        "against it, as strongly as the colour; numbers are in nats and add up to the difference "
        "from the message without tokens. Check: with tokens deleted from the highest score down, "
        "the mean area under the curve of the answer's probability is {by_score:.3f}, in random "
        "order {at_random:.3f}; if the first is not smaller, do not trust the colours. They show "
        "what this model reads, not why a message is what it is.",
        by_score=sum(row.deletion_area for row in explained) / len(explained),
        at_random=sum(row.random_area for row in explained) / len(explained),
    )
    head = [
        Message("message"),
        Message("answer"),
        Message("label"),
        "",
        Message("strongest"),
        Message("probability"),
        Message("area"),
        Message("at random"),
    ]
    rows = [
        [
            Highlighted(row.pieces),
            row.label,
            row.true_label,
            Message(row.kind),
            _strongest(row.pieces),
            row.probability,
            row.deletion_area,
            row.random_area,
        ]
        for row in explained
    ]
    table = Table(head, rows, text_columns=[Message("message"), Message("strongest")])
    return Section(Message("What answers rest on"), note, [table])


def _strongest(pieces: Sequence[tuple[str, float | None]]) -> str:
    scored = [(text, score) for text, score in pieces if score is not None]
    scored.sort(key=lambda piece: -abs(piece[1]))
    return ", ".join(f"{text} {score:+.2f}" for text, score in scored[:_MAX_PIECES])


def limit_section(metrics: Metrics) -> Section:
    """Return the limits of these scores."""
    lines = [
        Message(
            "These scores hold only for similar messages; test other senders, months or kinds of "
            "evasion separately."
        ),
        Message(
            "Copies of a message are merged in prepared data, so shares are of distinct messages, "
            "not of traffic."
        ),
        Message(
            "Intervals cover the chance of which campaigns were drawn, not that of training with "
            "another seed: smstune compare takes several seeds."
        ),
        Message(
            "The interval of the calibration error is biased upwards, because the score is a sum "
            "of absolute gaps."
        ),
    ]
    if rare := [name for name, row in metrics.per_label.items() if row.support < _RARE]:
        lines.append(
            Message(
                "The scores of labels with fewer than {n_messages} messages are hardly "
                "meaningful: {labels}.",
                n_messages=_RARE,
                labels=", ".join(rare),
            )
        )
    return Section(Message("Limits"), "", [Text(line) for line in lines])


def _rate_interval(metrics: Metrics, row: RecallAtRate) -> tuple[float, float] | None:
    by_rate = metrics.ci.recall_at_fpr.get(row.group, {})
    return by_rate.get(str(row.false_positive_rate))
