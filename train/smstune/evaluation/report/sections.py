"""Sections of the evaluation report on calibration, operating points, slices, errors, limits."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.evaluation.calibration.operating_points import ObservedPoint
from smstune.evaluation.metrics import CalibrationFacts, Metrics
from smstune.evaluation.mistakes.attribution import ExplainedAnswer
from smstune.evaluation.mistakes.mistakes import InstructiveAnswers, ShownAnswer
from smstune.evaluation.report.figures import precision_recall_blocks, reliability_blocks
from smstune.evaluation.scores.gates import describe_gate
from smstune.evaluation.scores.results import GateResult, RecallAtRate, SliceScores
from smstune.inference.decision import PointScores
from smstune.reporting.document import Block, Caution, Highlighted, Section, Table, Text
from smstune.reporting.format import interval_text, share_text

_MAX_SLICES = 40
_MAX_PIECES = 4
#: Scores of labels with fewer messages are hardly meaningful.
_RARE = 20


def gate_section(gates: Sequence[GateResult]) -> list[Section]:
    """Return what the gates ask for, those that are missed first; nothing without gates."""
    if not gates:
        return []
    rows = [
        [describe_gate(gate), "kept" if gate.kept else "MISSED"]
        for gate in sorted(gates, key=lambda gate: gate.kept)
    ]
    return [Section("Gates", "", [Table(["gate", ""], rows, text_columns=["gate"])])]


def operating_section(metrics: Metrics) -> Section:
    """Return each operating point: its guarantee from validation, and the result on this set."""
    note = (
        "A message's score is the summed probability of the labels that a point guards against. "
        "A message is blocked if its score reaches the threshold, and sent to review if it reaches "
        "the review limit. Harmless means: of a label that the point does not guard. A harmless "
        "campaign counts as blocked if any of its messages is. Shares depend on the mix of this "
        "set; real traffic has another."
    )
    compared = metrics.calibration.checkpoints_compared
    if compared > 1:
        note += (
            f" Validation also chose the best of {compared} checkpoints, so its thresholds and "
            f"bounds use the confidence 1 - (1 - c) / {compared} in place of c: the promise holds "
            "whichever checkpoint was chosen."
        )
    blocks: list[Block] = []
    for point in metrics.operating_points:
        blocks += _point_blocks(point, metrics.split)
    if not blocks:
        note = (
            "No operating point is configured, so nothing is blocked. Set "
            "evaluation.operating_points to block labels within a budget."
        )
    rates = [
        [
            row.group,
            share_text(row.false_positive_rate),
            row.recall,
            interval_text(_rate_interval(metrics, row)),
            row.negatives,
            row.undefined.get("recall", ""),
        ]
        for row in metrics.recall_at_fpr
    ]
    head = ["recall at a false-positive rate", "rate", "recall", "95 %", "other messages", ""]
    return Section("Operating points", note, [*blocks, Table(head, rates)])


def _point_blocks(point: ObservedPoint, split: str) -> list[Block]:
    budget = ", ".join(f"{name} {value:g}" for name, value in point.budget.items())
    title = f"{point.name} guards against {', '.join(point.labels)}: {budget}"
    if point.threshold is None:
        return [Caution(f"{title}. There is no threshold: {point.reason}.")]
    review_from = "–" if point.review_from is None else f"{point.review_from:.6g}"
    rows: list[list[object]] = [
        ["threshold", f"{point.threshold:.6g}", ""],
        ["review from", review_from, ""],
    ]
    on_validation, on_split = (
        _point_column(point, point.validation),
        _point_column(point, point.observed),
    )
    rows += [[name, on_validation[name], on_split[name]] for name in on_split]
    return [Text(title), Table(["", "validation", split], rows)]


def _point_column(point: ObservedPoint, facts: object) -> dict[str, object]:
    """Return the rows of a point's table for one set, by their names."""
    if not isinstance(facts, PointScores):
        return {}
    return {
        "harmless campaigns blocked": share_text(facts.false_positive_rate),
        f"its upper bound at {point.confidence:g}": share_text(facts.false_positive_bound),
        "harmless messages blocked": share_text(facts.message_false_positive_rate),
        "precision, messages": share_text(facts.precision),
        "recall, messages": share_text(facts.recall),
        "sent to review": share_text(facts.review_share),
        "harmful share of the reviewed": share_text(facts.review_guarded),
        "recall if every review is decided correctly": share_text(facts.recall_with_review),
        "harmless campaigns": facts.other_campaigns,
    }


def ranking_section(metrics: Metrics) -> Section:
    """Return the precision-recall curves of the groups of labels."""
    note = "Highest precision at each recall or above, for each group of labels against all others."
    curves = metrics.precision_recall
    return Section("Precision and recall", note, precision_recall_blocks(curves) if curves else [])


def calibration_section(calibration: CalibrationFacts) -> Section:
    """Return the reliability diagram before and after calibration."""
    fit = calibration.fitted_on
    note = "This run's calibration was not fitted: smstune eval RUN --calibrate does it."
    if fit is not None:
        note = (
            f"Temperature {calibration.temperature:.3f}, fitted on {fit.messages:,} messages of "
            f"{fit.split}; expected calibration error of this set {calibration.before.ece:.4f} "
            f"before, {calibration.after.ece:.4f} after. Bins of equal mass."
        )
        if calibration.linear_weight:
            note += (
                f" The linear model's scores are added {calibration.linear_weight:.2f} times: "
                f"macro-F1 on {fit.split} is {fit.before.macro_f1:.3f} without and "
                f"{fit.after.macro_f1:.3f} with it."
            )
    return Section("Calibration", note, reliability_blocks(calibration))


def cascade_section(calibration: CalibrationFacts, split: str) -> list[Section]:
    """Return what the cascade promises and how much it answers early; nothing without one."""
    cascade = calibration.cascade
    if cascade is None:
        return []
    if cascade.threshold is None or cascade.validation is None:
        return [Section("Cascade", "", [Caution(f"There is no cascade: {cascade.reason}.")])]
    scores = cascade.validation
    note = (
        "The linear model alone answers a message if its two best scores have a margin of at least "
        f"{cascade.threshold:g}; encoder and linear model together answer the others. The "
        "threshold is the lowest at which, on validation, the upper bound of the share of "
        f"campaigns with another answer than without the cascade stays within "
        f"{cascade.max_changed:g}, at confidence {cascade.confidence:g}."
    )
    if calibration.checkpoints_compared > 1:
        note += (
            " As for operating points, the confidence is corrected for the choice among "
            f"{calibration.checkpoints_compared} checkpoints."
        )
    rows: list[list[object]] = [
        [
            "messages answered early",
            share_text(scores.early_share),
            share_text(calibration.early_share),
        ],
        ["campaigns with another answer", share_text(scores.changed_share), ""],
        ["its upper bound", share_text(scores.bound), ""],
    ]
    return [Section("Cascade", note, [Table(["", "validation", split], rows)])]


def slice_section(slices: Sequence[SliceScores]) -> list[Section]:
    """Return the slices of the lowest accuracy first."""
    if not slices:
        return []
    head = ["slice", "messages", "campaigns", "accuracy", "95 %", "macro-F1", "parent right"]
    rows = [
        [
            row.slice,
            row.n,
            row.campaigns,
            row.accuracy,
            interval_text(row.ci),
            row.macro_f1,
            row.coarse_accuracy,
        ]
        for row in slices[:_MAX_SLICES]
    ]
    note = (
        "The worst first. Simple rules tell the kinds of messages apart. Hard twins are messages "
        "with a near copy under another parent, such as a notice and its forgery."
    )
    return [Section("Slices", note, [Table(head, rows)])]


def answer_sections(answers: InstructiveAnswers) -> list[Section]:
    """Return the answers worth a look; personal information is masked."""
    head = ["label", "answer", "probability", "message"]
    sections = [
        Section(title, "", [Table(head, [_answer_row(row) for row in rows], ["message"])])
        for title, rows in (
            ("Most confident mistakes", answers.confident_mistakes),
            ("Least certain hits", answers.uncertain_hits),
        )
        if rows
    ]
    if answers.campaigns:
        rows = [
            [campaign.mistakes, campaign.messages, *_answer_row(campaign.example)]
            for campaign in answers.campaigns
        ]
        table = Table(["wrong", "of", *head], rows, ["message"])
        sections.append(Section("Campaigns with most mistakes", "", [table]))
    return sections


def _answer_row(row: ShownAnswer) -> list[object]:
    return [row.label, row.answer, row.probability, row.text]


def explanation_section(explained: Sequence[ExplainedAnswer]) -> Section:
    """Return explained messages in colours, with the check by deletion."""
    by_score = sum(row.deletion_area for row in explained) / len(explained)
    at_random = sum(row.random_area for row in explained) / len(explained)
    note = (
        "Integrated gradients of the answer's log-odds, in fp32: red speaks for the answer, blue "
        "against it, as strongly as the colour; numbers are in nats and add up to the difference "
        "from the message without tokens. Check: with tokens deleted from the highest score down, "
        f"the mean area under the curve of the answer's probability is {by_score:.3f}, in random "
        f"order {at_random:.3f}; if the first is not smaller, do not trust the colours. They show "
        "what this model reads, not why a message is what it is."
    )
    head = ["message", "answer", "label", "", "strongest", "probability", "area", "at random"]
    rows = [
        [
            Highlighted(row.pieces),
            row.label,
            row.true_label,
            row.kind,
            _strongest(row.pieces),
            row.probability,
            row.deletion_area,
            row.random_area,
        ]
        for row in explained
    ]
    table = Table(head, rows, text_columns=["message", "strongest"])
    return Section("What answers rest on", note, [table])


def _strongest(pieces: Sequence[tuple[str, float | None]]) -> str:
    scored = [(text, score) for text, score in pieces if score is not None]
    scored.sort(key=lambda piece: -abs(piece[1]))
    return ", ".join(f"{text} {score:+.2f}" for text, score in scored[:_MAX_PIECES])


def limit_section(metrics: Metrics) -> Section:
    """Return the limits of these scores."""
    lines = [
        "These scores hold only for similar messages; test other senders, months or kinds of "
        "evasion separately.",
        "Copies of a message are merged in prepared data, so shares are of distinct messages, not "
        "of traffic.",
        "Intervals cover the chance of which campaigns were drawn, not that of training with "
        "another seed: smstune compare takes several seeds.",
        "The interval of the calibration error is biased upwards, because the score is a sum of "
        "absolute gaps.",
    ]
    if rare := [name for name, row in metrics.per_label.items() if row.support < _RARE]:
        names = ", ".join(rare)
        lines.append(
            f"The scores of labels with fewer than {_RARE} messages are hardly meaningful: {names}."
        )
    return Section("Limits", "", [Text(line) for line in lines])


def _rate_interval(metrics: Metrics, row: RecallAtRate) -> tuple[float, float] | None:
    by_rate = metrics.ci.recall_at_fpr.get(row.group, {})
    return by_rate.get(str(row.false_positive_rate))
