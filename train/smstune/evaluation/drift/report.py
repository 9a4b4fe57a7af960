"""drift.html: what has shifted, how far, and out of how many messages."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.evaluation.drift.results import Drift, Month, Quantiles, StabilityBin
from smstune.evaluation.drift.stability import ANSWER, SOME_SHIFT
from smstune.evaluation.evaluated import set_name
from smstune.language import Message, joined
from smstune.reporting.charts import BarChart, Line, LineChart
from smstune.reporting.document import Block, Caution, Figure, Report, Section, Table
from smstune.reporting.format import interval_text, share_text

#: Share of unknown tokens from which the answers mean little.
_MANY_UNKNOWN = 0.2
_SHIFTED = ("some shift", "shift")


def drift_report(drift: Drift) -> Report:
    """Return the report of how new messages differ from the run's own."""
    return Report(
        title=Message("Drift of {new} from {run}", new=drift.new.name, run=drift.run),
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
    features = [Message(row.feature) for row in drift.psi if row.verdict in _SHIFTED]
    return [
        Message(
            "{n_messages:,} messages of {path} ({n_distinct:,} distinct in {n_campaigns:,} "
            "campaigns; {n_unusable:,} rows could not be used) are compared with the "
            "{n_reference:,} of the run's {split} split ({n_reference_campaigns:,} campaigns).",
            n_messages=new.messages,
            path=new.path,
            n_distinct=new.distinct,
            n_campaigns=new.campaigns,
            n_unusable=new.unusable,
            n_reference=reference.distinct,
            split=set_name(reference.split),
            n_reference_campaigns=reference.campaigns,
        ),
        Message("Answers: more or fewer of {labels}.", labels=", ".join(shifted))
        if shifted
        else Message("Answers: no label's share shifted."),
        Message(
            "Features that shifted (index above the chance level and at least {least:g}): "
            "{features}.",
            least=SOME_SHIFT,
            features=joined(features, ", ") if features else Message("none"),
        ),
        Message(
            "{unseen} of the new messages are in no campaign that the run was trained on; "
            "{unknown} of their tokens are unknown to the model.",
            unseen=share_text(drift.no_known_campaign.new),
            unknown=share_text(drift.unknown_tokens.new.rate),
        ),
        Message("Copies of a message count once, as in prepared data; no label was needed."),
    ]


def _label_section(drift: Drift) -> Section:
    reference, new = drift.reference, drift.new
    note = Message(
        "Shares of the run's answers, not of the truth. {n_shifted} of {n_labels} labels are shown "
        "to have another share of campaigns (Fisher's exact test, corrected by Holm; differences "
        "of campaign shares, intervals by Newcombe, each for one label). Not shown is not the "
        "same as equal: look at the interval.",
        n_shifted=sum(row.shifted for row in drift.labels),
        n_labels=len(drift.labels),
    )
    head = [
        Message("label"),
        set_name(reference.split),
        new.name,
        "",
        Message("campaigns of {n_campaigns:,}", n_campaigns=reference.campaigns),
        Message("of {n_campaigns:,}", n_campaigns=new.campaigns),
        Message("difference"),
        Message("95 %"),
        Message("p (Holm)"),
    ]
    rows = [
        [
            row.label,
            share_text(row.reference),
            share_text(row.new),
            Message("shifted") if row.shifted else Message("not shown"),
            *row.campaigns,
            row.difference,
            interval_text(row.ci),
            Message("under 0.001") if row.p_holm < 0.001 else row.p_holm,
        ]
        for row in drift.labels
    ]
    return Section(Message("Answers"), note, [Table(head, rows)])


def _label_figure(drift: Drift) -> Figure:
    shares = {
        set_name(drift.reference.split): [100 * row.reference for row in drift.labels],
        drift.new.name: [100 * row.new for row in drift.labels],
    }
    names = [row.label for row in drift.labels]
    chart = BarChart(names, shares, Message("percent of messages"), stacked=False)
    return Figure([chart], Message("Share of each answer on both sides"))


def _confidence_section(drift: Drift) -> Section:
    head = [
        "",
        Message("number of messages"),
        Message("campaigns"),
        Message("mean"),
        Message("5 %"),
        Message("25 %"),
        Message("median"),
    ]
    reference, new = drift.reference, drift.new
    rows = [
        [
            set_name(reference.split),
            reference.distinct,
            reference.campaigns,
            *_quantiles(drift.confidence.reference),
        ],
        [new.name, new.distinct, new.campaigns, *_quantiles(drift.confidence.new)],
    ]
    note = Message(
        'The probability of the answer. The table below shows in its row "confidence" whether it '
        "shifted."
    )
    return Section(Message("Confidence"), note, [Table(head, rows)])


def _quantiles(quantiles: Quantiles) -> list[float]:
    return [quantiles.mean, quantiles.low, quantiles.quarter, quantiles.median]


def _stability_section(drift: Drift) -> Section:
    reference, new = drift.reference, drift.new
    note = Message(
        "Population stability index, bins by deciles of the reference, an empty bin counted as "
        "half a message. Rules of thumb from credit scoring (Siddiqi, Credit Risk Scorecards, "
        "2006), not a test: below 0.1 stable, 0.1 to 0.25 some shift, above 0.25 shift. Two "
        "samples of one population have an index above 0, too: an index that is not above the "
        "chance level (simulated for {n_reference:,} and {n_new:,} campaigns, corrected for the "
        "number of rows) shows no shift. A kind of placeholder, or an unknown token, is in a "
        "message (1) or not (0).",
        n_reference=reference.campaigns,
        n_new=new.campaigns,
    )
    rows = [[Message(row.feature), Message(row.verdict), row.psi, row.chance] for row in drift.psi]
    head = [Message("feature"), Message("verdict"), Message("index"), Message("chance level")]
    blocks: list[Block] = [Table(head, rows)]
    bins = [
        [
            Message(row.feature),
            _bin_name(row.bins, number),
            stability_bin.reference,
            stability_bin.new,
        ]
        for row in drift.psi
        for number, stability_bin in enumerate(row.bins)
        if row.verdict in _SHIFTED and row.feature != ANSWER
    ]
    if bins:
        sides = [set_name(reference.split), new.name]
        blocks.append(Table([Message("feature"), Message("from, up to"), *sides], bins))
    return Section(Message("Stability"), note, blocks)


def _bin_name(bins: Sequence[StabilityBin], number: int) -> str:
    below, top = bins[number - 1].up_to if number else None, bins[number].up_to
    if top is None:
        return Message("all") if below is None else Message("above {below:.4g}", below=below)
    if below is None:
        return Message("up to {top:.4g}", top=top)
    return Message("{below:.4g} to {top:.4g}", below=below, top=top)


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
                set_name(drift.reference.split),
                drift.reference.distinct,
                unseen.reference,
                unknown.reference,
            ),
            (drift.new.name, drift.new.distinct, unseen.new, unknown.new),
        )
    ]
    head = [
        "",
        Message("number of messages"),
        Message("in no campaign of train"),
        Message("tokens"),
        Message("of them unknown"),
        Message("messages with one"),
    ]
    note = Message(
        "A message is in a known campaign if it is a near copy of one that the run was trained on. "
        "A split by campaign has no such messages in its own splits, so only the new share says "
        "something. Unknown tokens are what the vocabulary lacks: another script, or rare variants."
    )
    blocks: list[Block] = [Table(head, rows)]
    if unknown.new.rate > _MANY_UNKNOWN:
        warning = Message(
            "More than a fifth of the tokens are unknown to the model: another language or script? "
            "Its answers mean little."
        )
        blocks.insert(0, Caution(warning))
    return Section(Message("What the run has not seen"), note, blocks)


def _month_section(drift: Drift) -> Section:
    if not drift.months:
        return Section(Message("Months"), Message("The messages have no time that can be read."))
    head = [
        Message("month"),
        Message("number of messages"),
        Message("campaigns"),
        Message("confidence"),
        Message("labelled"),
        Message("accuracy"),
        Message("95 %"),
        Message("macro-F1"),
        Message("95 %"),
    ]
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
    note = Message(
        "Scores are of the messages that have a label of the run, macro-F1 over the labels of the "
        "month, so months with other labels cannot be compared. Intervals are over campaigns, each "
        "for one month: if nothing changes, about one month in twenty lies outside its "
        "interval by chance. Macro-F1 has no "
        "interval where every draw gives the same."
    )
    if drift.new.unknown:
        note = Message(
            "{note} {n_messages:,} messages have a label that the run does not know.",
            note=note,
            n_messages=drift.new.unknown,
        )
    labelled = [row for row in drift.months if row.labelled]
    curves = [_month_curves(labelled)] if labelled else []
    return Section(Message("Months"), note, [*curves, Table(head, rows)])


def _month_curves(months: Sequence[Month]) -> Figure:
    accuracy = [(float(number), month.accuracy) for number, month in enumerate(months)]
    macro_f1 = [(float(number), month.macro_f1) for number, month in enumerate(months)]
    chart = LineChart(
        [
            Line(
                Message("accuracy"),
                accuracy,
                0,
                markers=True,
                intervals=[month.accuracy_ci for month in months],
            ),
            Line(
                Message("macro-F1"),
                macro_f1,
                1,
                markers=True,
                intervals=[month.macro_f1_ci for month in months],
            ),
        ],
        Message("month"),
        Message("score"),
        y_range=(0, 1),
        x_names=[month.month for month in months],
    )
    return Figure([chart], Message("Accuracy and macro-F1 by month"))
