"""The sections of the data report, each from what was counted or measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from smstune.config.choices import SplitMethod
from smstune.data.report.lengths import SUMMARY_HEAD, histogram, length_summary
from smstune.data.report.statistics import Campaign, Counts, LabelConflicts, summed
from smstune.data.report.tokens import TokenLengths
from smstune.data.splits.contamination import TEST_SAMPLE
from smstune.inference.origin import Contamination, RowCounts
from smstune.reporting.charts import BarChart
from smstune.reporting.document import Figure, Section, Table, count_table
from smstune.reporting.format import percent
from smstune.text.pii.placeholders import PLACEHOLDERS


def labels_figure(counts: Counts, splits: Sequence[str], labels: Sequence[str]) -> Figure:
    """Return the messages of each label as bars, a colour for each split."""
    by_label_and_split = summed(counts.rows, 1, 0)
    values_by_split = {
        split: [by_label_and_split[label, split] for label in labels] for split in splits
    }
    chart = BarChart(labels, values_by_split, "messages")
    return Figure([chart], "Messages of each label as bars, a colour for each split")


def count_sections(
    row_counts: RowCounts, counts: Counts, splits: Sequence[str], labels: Sequence[str]
) -> list[Section]:
    """Return the sections of the messages by label and by source."""
    sources = _sources(counts)
    note = (
        f"{row_counts.read:,} rows were read, {row_counts.merged:,} merged into an equal one, "
        f"{sum(row_counts.rejected.values()):,} rejected, {row_counts.kept:,} kept"
    )
    if row_counts.set_aside:
        note += f", {row_counts.set_aside:,} of them set aside because they resemble test messages"
    source_tables = [count_table("source", sources, splits, summed(counts.rows, 2, 0))]
    if len(sources) > 1:
        source_tables.append(count_table("label", labels, sources, summed(counts.rows, 1, 2)))
    by_label = count_table("label", labels, splits, summed(counts.rows, 1, 0))
    return [Section("Labels", f"{note}.", [by_label]), Section("Sources", "", source_tables)]


def length_section(counts: Counts, labels: Sequence[str]) -> Section:
    """Return the section of lengths in characters, all and by label."""
    by_label: dict[str, Counter[int]] = {label: Counter() for label in labels}
    for (label, length), count in counts.lengths.items():
        by_label[label][length] += count
    total = sum(by_label.values(), Counter[int]())
    rows = [
        [name, *length_summary(lengths)] for name, lengths in [*by_label.items(), ("all", total)]
    ]
    return Section(
        "Length in characters",
        "A placeholder counts as written: [PHONE] is seven characters. An SMS of more than 70 "
        "characters is sent in several parts.",
        [*histogram(total, "characters"), Table(["label", *SUMMARY_HEAD], rows)],
    )


def token_section(tokens: TokenLengths | None) -> Section:
    """Return the section of lengths in tokens, or how to have them measured."""
    title = "Length in tokens"
    if tokens is None:
        return Section(
            title,
            "Not measured: `smstune prepare --tokenizer` shows what max_length cuts and which "
            "share of the tokens is unknown.",
        )
    shares = [[f"messages cut by max_length {tokens.max_length}", percent(tokens.share_cut)]]
    if tokens.unknown is not None:
        shares.append(["tokens that are unknown", f"{100 * tokens.unknown.of_tokens:.2f} %"])
        shares.append(["messages with an unknown token", percent(tokens.unknown.of_messages)])
    return Section(
        title,
        f"Of {tokens.lengths.total():,} of {tokens.total:,} messages, special tokens included.",
        [
            *histogram(tokens.lengths, "tokens"),
            Table(SUMMARY_HEAD, [length_summary(tokens.lengths)]),
            Table(["", "share"], shares),
        ],
    )


def contamination_section(
    contamination: dict[SplitMethod, Contamination], method: SplitMethod
) -> Section:
    """Return the section of test messages that have copies in train."""
    rows = [
        [f"{name} (this split)" if name == method else name]
        + [f"{100 * share:.1f} %" for share in (shares.exact, shares.near)]
        for name, shares in contamination.items()
    ]
    return Section(
        "Contamination",
        f"Share of the test messages (a sample if they are more than {TEST_SAMPLE:,}) with a copy "
        "in train. The difference is how much a random split would have flattered the score.",
        [Table(["split", "exact copy", "near copy"], rows)],
    )


def rejected_section(rejected: dict[str, int]) -> Section:
    """Return the section of rejected rows by reason."""
    if not rejected:
        return Section("Rejected rows", "None.")
    return Section(
        "Rejected rows",
        "rejected.jsonl names the file and line of each.",
        [Table(["reason", "rows"], list(rejected.items()))],
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
        return Section("Personal information", "None was found.")
    return Section(
        "Personal information",
        ("Found and masked" if masked else "Found and NOT masked")
        + ", by type. Masking is de-identification, not anonymisation: what a message says may "
        "still identify a person. Names and addresses are not searched for.",
        [
            count_table("label", labels, kinds, summed(by_kind, 0, 2)),
            count_table("type", kinds, _sources(counts), summed(by_kind, 2, 1)),
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
    head = ["messages", "example", "labels", "distinct", "first time"]
    return Section(
        "Largest campaigns",
        "A campaign is a group of near-duplicate messages. The column messages counts exact "
        "copies; labels and distinct do not. A dash: no message has a time.",
        [Table(head, rows, text_columns=("example", "labels"))],
    )


def conflict_sentence(conflicts: LabelConflicts) -> str:
    """Return how many campaigns have several labels, in words."""
    if not conflicts.groups:
        return "No campaign has several labels."
    return (
        f"Campaigns with several labels: {conflicts.groups:,}, with {conflicts.rows:,} messages, "
        f"of which {conflicts.outvoted:,} have another label than most of their campaign."
    )


def conflict_section(conflicts: LabelConflicts) -> Section:
    """Return the section of campaigns with several labels."""
    rows = [
        [conflict.rows if number == 0 else "", conflict.examples[label], label, count]
        for conflict in conflicts.largest
        for number, (label, count) in enumerate(conflict.labels.items())
    ]
    head = ["campaign of", "example", "label", "messages"]
    table = Table(head, rows, text_columns=("example", "label"))
    return Section("Label conflicts", conflict_sentence(conflicts), [table] if rows else [])


def _sources(counts: Counts) -> list[str]:
    return [source for (source,) in summed(counts.rows, 2)]
