"""The sections of the data report, each from what was counted or measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from smstune.config.choices import SplitMethod
from smstune.data.report.lengths import SUMMARY_HEAD, histogram, length_summary
from smstune.data.report.statistics import Campaign, Counts, LabelConflicts, summed
from smstune.data.report.tokens import TokenLengths
from smstune.data.splits.contamination import TEST_SAMPLE
from smstune.data.splits.methods import SPLIT_TITLES
from smstune.inference.origin import Contamination, RowCounts
from smstune.language import Message, joined
from smstune.reporting.charts import BarChart
from smstune.reporting.document import Figure, Section, Table, count_table
from smstune.reporting.format import percent, share_text
from smstune.text.pii.placeholders import PLACEHOLDERS

#: How the rows of the table of contamination name the ways to split.
_METHOD_TITLES: dict[SplitMethod, Message] = {
    "group": Message("by campaign"),
    "time": Message("by time"),
    "source": Message("by source"),
    "random": Message("randomly"),
    "folds": Message("by campaign into folds"),
    "given": Message("as given"),
}


def split_sizes(row_counts: RowCounts) -> Message:
    """Return the names of the splits with their messages."""
    sizes = [
        Message(
            "{split} {n_messages:,}", split=SPLIT_TITLES[split], n_messages=sum(by_label.values())
        )
        for split, by_label in row_counts.splits.items()
    ]
    return joined(sizes, ", ")


def labels_figure(counts: Counts, splits: Sequence[str], labels: Sequence[str]) -> Figure:
    """Return the messages of each label as bars, a colour for each split."""
    by_label_and_split = summed(counts.rows, 1, 0)
    values_by_split: dict[str, list[int]] = {
        SPLIT_TITLES[split]: [by_label_and_split[label, split] for label in labels]
        for split in splits
    }
    chart = BarChart(labels, values_by_split, Message("number of messages"))
    return Figure([chart], Message("Messages of each label as bars, a colour for each split"))


def count_sections(
    row_counts: RowCounts, counts: Counts, splits: Sequence[str], labels: Sequence[str]
) -> list[Section]:
    """Return the sections of the messages by label and by source."""
    sources = _sources(counts)
    label, source = Message("label"), Message("source")
    source_tables = [_by_split(source, sources, splits, summed(counts.rows, 2, 0))]
    if len(sources) > 1:
        source_tables.append(count_table(label, labels, sources, summed(counts.rows, 1, 2)))
    by_label = _by_split(label, labels, splits, summed(counts.rows, 1, 0))
    return [
        Section(Message("Messages by label"), _row_counts_note(row_counts), [by_label]),
        Section(Message("Messages by source"), "", source_tables),
    ]


def _by_split(
    corner: Message,
    names: Sequence[str],
    splits: Sequence[str],
    counts: Mapping[tuple[str, ...], int],
) -> Table:
    table = count_table(corner, names, splits, counts)
    return replace(table, head=[SPLIT_TITLES.get(name, name) for name in table.head])


def _row_counts_note(row_counts: RowCounts) -> Message:
    n_rejected = sum(row_counts.rejected.values())
    if row_counts.set_aside:
        return Message(
            "{read:,} rows were read, {merged:,} merged into an equal one, {rejected:,} rejected, "
            "{kept:,} kept, {set_aside:,} of them set aside because they resemble test messages.",
            read=row_counts.read,
            merged=row_counts.merged,
            rejected=n_rejected,
            kept=row_counts.kept,
            set_aside=row_counts.set_aside,
        )
    return Message(
        "{read:,} rows were read, {merged:,} merged into an equal one, {rejected:,} rejected, "
        "{kept:,} kept.",
        read=row_counts.read,
        merged=row_counts.merged,
        rejected=n_rejected,
        kept=row_counts.kept,
    )


def length_section(counts: Counts, labels: Sequence[str]) -> Section:
    """Return the section of lengths in characters, all and by label."""
    by_label: dict[str, Counter[int]] = {label: Counter() for label in labels}
    for (label, length), count in counts.lengths.items():
        by_label[label][length] += count
    total = sum(by_label.values(), Counter[int]())
    rows = [
        [name, *length_summary(lengths)]
        for name, lengths in [*by_label.items(), (Message("all"), total)]
    ]
    return Section(
        Message("Length in characters"),
        Message(
            "A placeholder counts as written: [PHONE] is seven characters. An SMS of more than 70 "
            "characters is sent in several parts."
        ),
        [
            *histogram(total, Message("characters")),
            Table([Message("label"), *SUMMARY_HEAD], rows),
        ],
    )


def token_section(tokens: TokenLengths | None) -> Section:
    """Return the section of lengths in tokens, or how to have them measured."""
    title = Message("Length in tokens")
    if tokens is None:
        return Section(
            title,
            Message(
                "Not measured: `smstune prepare --tokenizer` shows what max_length cuts and which "
                "share of the tokens is unknown."
            ),
        )
    cut = Message("messages cut by max_length {max_length}", max_length=tokens.max_length)
    shares = [[cut, percent(tokens.share_cut)]]
    if tokens.unknown is not None:
        shares.append([Message("tokens that are unknown"), share_text(tokens.unknown.of_tokens)])
        shares.append(
            [Message("messages with an unknown token"), percent(tokens.unknown.of_messages)]
        )
    return Section(
        title,
        Message(
            "Of {n_measured:,} of {total:,} messages, special tokens included.",
            n_measured=tokens.lengths.total(),
            total=tokens.total,
        ),
        [
            *histogram(tokens.lengths, Message("tokens")),
            Table(SUMMARY_HEAD, [length_summary(tokens.lengths)]),
            Table(["", Message("share")], shares),
        ],
    )


def contamination_section(
    contamination: dict[SplitMethod, Contamination], method: SplitMethod
) -> Section:
    """Return the section of test messages that have copies in train."""
    rows = [
        [_method_title(name, is_chosen=name == method)]
        + [tenths(share) for share in (shares.exact, shares.near)]
        for name, shares in contamination.items()
    ]
    return Section(
        Message("Contamination"),
        Message(
            "Share of the test messages (a sample if they are more than {test_sample:,}) with a "
            "copy in train. The difference is how much a random split would have flattered the "
            "score.",
            test_sample=TEST_SAMPLE,
        ),
        [Table([Message("split"), Message("exact copy"), Message("near copy")], rows)],
    )


def tenths(share: float) -> Message:
    """Return a share as a percentage with one decimal."""
    return Message("{percentage:.1f} %", percentage=100 * share)


def _method_title(method: SplitMethod, *, is_chosen: bool) -> Message:
    title = _METHOD_TITLES[method]
    return Message("{method} (this split)", method=title) if is_chosen else title


def rejected_section(rejected: dict[str, int]) -> Section:
    """Return the section of rejected rows by reason."""
    if not rejected:
        return Section(Message("Rejected rows"), Message("None."))
    # The manifest, from which they come, keeps no templates; no reason has values.
    rows = [(Message(reason), n_rows) for reason, n_rows in rejected.items()]
    return Section(
        Message("Rejected rows"),
        Message("rejected.jsonl names the file and line of each."),
        [Table([Message("reason"), Message("rows")], rows)],
    )


def pii_section(counts: Counts, labels: Sequence[str], *, masked: bool) -> Section:
    """Return the section of personal information by type, label and source."""
    by_kind = {
        (label, source, mark.strip("[]")): count
        for (label, source, mark), count in counts.marks.items()
        if count
    }
    present = {kind for (kind,) in summed(by_kind, 2)}
    kinds = [kind for mark in PLACEHOLDERS if (kind := mark.strip("[]")) in present]
    if not kinds:
        return Section(Message("Personal information"), Message("None was found."))
    if masked:
        note = Message(
            "Found and masked, by type. Masking is de-identification, not anonymisation: what a "
            "message says may still identify a person. Names and addresses are not searched for."
        )
    else:
        note = Message(
            "Found and NOT masked, by type. Masking is de-identification, not anonymisation: what "
            "a message says may still identify a person. Names and addresses are not searched for."
        )
    return Section(
        Message("Personal information"),
        note,
        [
            count_table(Message("label"), labels, kinds, summed(by_kind, 0, 2)),
            count_table(Message("type"), kinds, _sources(counts), summed(by_kind, 2, 1)),
        ],
    )


def campaign_section(campaigns: Sequence[Campaign]) -> Section:
    """Return the section of the largest campaigns."""
    rows = [
        [
            campaign.copies,
            campaign.example,
            ", ".join(f"{label} {count:,}" for label, count in campaign.labels.items()),
            campaign.rows,
            campaign.first_time,
        ]
        for campaign in campaigns
    ]
    example, labels = Message("example"), Message("labels")
    head = [
        Message("number of messages"),
        example,
        labels,
        Message("distinct"),
        Message("first time"),
    ]
    return Section(
        Message("Largest campaigns"),
        Message(
            "A campaign is a group of near-duplicate messages. The number of messages includes "
            "exact copies; labels and distinct do not. A dash: no message has a time."
        ),
        [Table(head, rows, text_columns=(example, labels))],
    )


def conflict_sentence(conflicts: LabelConflicts) -> Message:
    """Return how many campaigns have several labels, in words."""
    if not conflicts.groups:
        return Message("No campaign has several labels.")
    return Message(
        "Campaigns with several labels: {n_campaigns:,}, with {n_messages:,} messages, of which "
        "{outvoted:,} have another label than most of their campaign.",
        n_campaigns=conflicts.groups,
        n_messages=conflicts.rows,
        outvoted=conflicts.outvoted,
    )


def conflict_section(conflicts: LabelConflicts) -> Section:
    """Return the section of campaigns with several labels."""
    rows = [
        [conflict.rows if number == 0 else "", conflict.examples[label], label, count]
        for conflict in conflicts.largest
        for number, (label, count) in enumerate(conflict.labels.items())
    ]
    example, label_head = Message("example"), Message("label")
    head = [Message("campaign of"), example, label_head, Message("number of messages")]
    table = Table(head, rows, text_columns=(example, label_head))
    return Section(
        Message("Label conflicts"), conflict_sentence(conflicts), [table] if rows else []
    )


def _sources(counts: Counts) -> list[str]:
    return [source for (source,) in summed(counts.rows, 2)]
