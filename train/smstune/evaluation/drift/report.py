"""drift.html: what has shifted, how far, and out of how many messages."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.evaluation.drift.results import Drift, Month, Quantiles, StabilityBin
from smstune.evaluation.drift.stability import ANSWER, SOME_SHIFT
from smstune.reporting.charts import BarChart, Line, LineChart
from smstune.reporting.document import Block, Caution, Figure, Report, Section, Table
from smstune.reporting.format import interval_text, share_text

#: Share of unknown tokens from which the answers mean little.
_MANY_UNKNOWN = 0.2
_SHIFTED = ("some shift", "shift")


def drift_report(drift: Drift) -> Report:
    """Return the report of how new messages differ from the run's own."""
    return Report(
        title=f"Drift of {drift.new.name} from {drift.run}",
        opening=_opening(drift),
        figure=_label_figure(drift),
        sections=[
            _label_section(drift),
            _confidence_section(drift),
            _stability_section(drift),
            _unseen_section(drift),
            _month_section(drift),
        ],
    )


def _opening(drift: Drift) -> list[str]:
    reference, new = drift.reference, drift.new
    shifted = [row.label for row in drift.labels if row.shifted]
    shifted_features = [row.feature for row in drift.psi if row.verdict in _SHIFTED]
    answers = f"more or fewer of {', '.join(shifted)}" if shifted else "no label's share shifted"
    features = ", ".join(shifted_features) if shifted_features else "none"
    return [
        f"{new.messages:,} messages of {new.path} ({new.distinct:,} distinct in {new.campaigns:,} "
        f"campaigns; {new.unusable:,} rows could not be used) are compared with the "
        f"{reference.distinct:,} of the run's {reference.split} split ({reference.campaigns:,} "
        "campaigns).",
        f"Answers: {answers}.",
        f"Features that shifted (index above the chance level and at least {SOME_SHIFT:g}): "
        f"{features}.",
        f"{share_text(drift.no_known_campaign.new)} of the new messages are in no campaign that "
        f"the run was trained on; {share_text(drift.unknown_tokens.new.rate)} of their tokens are "
        "unknown to the model.",
        "Copies of a message count once, as in prepared data; no label was needed.",
    ]


def _label_section(drift: Drift) -> Section:
    reference, new = drift.reference, drift.new
    n_shifted = sum(row.shifted for row in drift.labels)
    note = (
        f"Shares of the run's answers, not of the truth. {n_shifted} of {len(drift.labels)} labels "
        "are shown to have another share of campaigns (Fisher's exact test, corrected by Holm; "
        "differences of campaign shares, intervals by Newcombe, each for one label). Not shown is "
        "not the same as equal: look at the interval."
    )
    head = [
        "label", reference.split, new.name, "", f"campaigns of {reference.campaigns:,}",
        f"of {new.campaigns:,}", "difference", "95 %", "p (Holm)",
    ]  # fmt: skip
    rows = [
        [
            row.label,
            share_text(row.reference),
            share_text(row.new),
            "shifted" if row.shifted else "not shown",
            *row.campaigns,
            row.difference,
            interval_text(row.ci),
            "under 0.001" if row.p_holm < 0.001 else row.p_holm,
        ]
        for row in drift.labels
    ]
    return Section("Answers", note, [Table(head, rows)])


def _label_figure(drift: Drift) -> Figure:
    shares = {
        drift.reference.split: [100 * row.reference for row in drift.labels],
        drift.new.name: [100 * row.new for row in drift.labels],
    }
    names = [row.label for row in drift.labels]
    chart = BarChart(names, shares, "% of messages", stacked=False)
    return Figure([chart], "Share of each answer on both sides")


def _confidence_section(drift: Drift) -> Section:
    head = ["", "messages", "campaigns", "mean", "5 %", "25 %", "median"]
    reference, new = drift.reference, drift.new
    rows = [
        [
            reference.split,
            reference.distinct,
            reference.campaigns,
            *_quantiles(drift.confidence.reference),
        ],
        [new.name, new.distinct, new.campaigns, *_quantiles(drift.confidence.new)],
    ]
    note = (
        'The probability of the answer. The table below shows in its row "confidence" whether it '
        "shifted."
    )
    return Section("Confidence", note, [Table(head, rows)])


def _quantiles(quantiles: Quantiles) -> list[float]:
    return [quantiles.mean, quantiles.low, quantiles.quarter, quantiles.median]


def _stability_section(drift: Drift) -> Section:
    reference, new = drift.reference, drift.new
    note = (
        "Population stability index, bins by deciles of the reference, an empty bin counted as "
        "half a message. Rules of thumb from credit scoring (Siddiqi, Credit Risk Scorecards, "
        "2006), not a test: below 0.1 stable, 0.1 to 0.25 some shift, above 0.25 shift. Two "
        "samples of one population have an index above 0, too: an index that is not above the "
        f"chance level (simulated for {reference.campaigns:,} and {new.campaigns:,} campaigns, "
        "corrected for the number of rows) shows no shift. A kind of placeholder, or an unknown "
        "token, is in a message (1) or not (0)."
    )
    rows = [[row.feature, row.verdict, row.psi, row.chance] for row in drift.psi]
    blocks: list[Block] = [Table(["feature", "verdict", "index", "chance level"], rows)]
    bins = [
        [row.feature, _bin_name(row.bins, number), stability_bin.reference, stability_bin.new]
        for row in drift.psi
        for number, stability_bin in enumerate(row.bins)
        if row.verdict in _SHIFTED and row.feature != ANSWER
    ]
    if bins:
        blocks.append(Table(["feature", "from, up to", reference.split, new.name], bins))
    return Section("Stability", note, blocks)


def _bin_name(bins: Sequence[StabilityBin], number: int) -> str:
    below, top = bins[number - 1].up_to if number else None, bins[number].up_to
    if top is None:
        return f"above {below:.4g}" if below is not None else "all"
    return f"up to {top:.4g}" if below is None else f"{below:.4g} to {top:.4g}"


def _unseen_section(drift: Drift) -> Section:
    unknown, unseen = drift.unknown_tokens, drift.no_known_campaign
    rows = [
        [
            name,
            distinct,
            share_text(unseen_share),
            tokens.tokens,
            share_text(tokens.rate),
            tokens.messages,
        ]
        for name, distinct, unseen_share, tokens in (
            (
                drift.reference.split,
                drift.reference.distinct,
                unseen.reference,
                unknown.reference,
            ),
            (drift.new.name, drift.new.distinct, unseen.new, unknown.new),
        )
    ]
    head = [
        "", "messages", "in no campaign of train", "tokens", "of them unknown",
        "messages with one",
    ]  # fmt: skip
    note = (
        "A message is in a known campaign if it is a near copy of one that the run was trained on. "
        "A split by campaign has no such messages in its own splits, so only the new share says "
        "something. Unknown tokens are what the vocabulary lacks: another script, or rare variants."
    )
    blocks: list[Block] = [Table(head, rows)]
    if unknown.new.rate > _MANY_UNKNOWN:
        warning = (
            "More than a fifth of the tokens are unknown to the model: another language or script? "
            "Its answers mean little."
        )
        blocks.insert(0, Caution(warning))
    return Section("What the run has not seen", note, blocks)


def _month_section(drift: Drift) -> Section:
    if not drift.months:
        return Section("Months", "The messages have no time that can be read.")
    head = ["month", "messages", "campaigns", "confidence", "labelled", "accuracy", "95 %",
            "macro-F1", "95 %"]  # fmt: skip
    rows = [
        [
            row.month,
            row.messages,
            row.campaigns,
            row.confidence,
            row.labelled,
            row.accuracy,
            interval_text(row.accuracy_ci),
            row.macro_f1,
            interval_text(row.macro_f1_ci),
        ]
        for row in drift.months
    ]
    note = (
        "Scores are of the messages that have a label of the run, macro-F1 over the labels of the "
        "month, so months with other labels cannot be compared. Intervals are over campaigns, each "
        "for one month: if nothing changes, about one month in twenty lies outside its "
        "interval by chance. Macro-F1 has no "
        "interval where every draw gives the same."
    )
    if drift.new.unknown:
        note += f" {drift.new.unknown:,} messages have a label that the run does not know."
    labelled = [row for row in drift.months if row.labelled]
    curves = [_month_curves(labelled)] if labelled else []
    return Section("Months", note, [*curves, Table(head, rows)])


def _month_curves(months: Sequence[Month]) -> Figure:
    accuracy = [(float(number), month.accuracy) for number, month in enumerate(months)]
    macro_f1 = [(float(number), month.macro_f1) for number, month in enumerate(months)]
    chart = LineChart(
        [
            Line(
                "accuracy", accuracy, 0, markers=True,
                intervals=[month.accuracy_ci for month in months],
            ),
            Line(
                "macro-F1", macro_f1, 1, markers=True,
                intervals=[month.macro_f1_ci for month in months],
            ),
        ],
        "month",
        "score",
        y_range=(0, 1),
        x_names=[month.month for month in months],
    )  # fmt: skip
    return Figure([chart], "Accuracy and macro-F1 by month")
