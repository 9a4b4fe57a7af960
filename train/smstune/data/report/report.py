"""The data report: what was prepared and what is wrong with it, to be read before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.data.manifest import Preparation
from smstune.data.report.sections import (
    campaign_section,
    conflict_section,
    conflict_sentence,
    contamination_section,
    count_sections,
    labels_figure,
    length_section,
    pii_section,
    rejected_section,
    split_sizes,
    tenths,
    token_section,
)
from smstune.data.report.shortcut_sections import shortcut_sections, shortcut_warnings
from smstune.data.report.shortcuts import ShortcutCheck
from smstune.data.report.statistics import Campaign, Counts, LabelConflicts, summed
from smstune.data.report.tokens import TokenLengths
from smstune.language import Message, joined
from smstune.reporting.document import Caution, Report, Section
from smstune.reporting.format import percent

# Shares from which a finding is worth a warning, and the fewest messages of a label.
_CUT, _UNKNOWN, _REJECTED, _OUTVOTED, _NEAR = 0.05, 0.01, 0.05, 0.01, 0.01
_FEW_ROWS = 30


def build_data_report(
    preparation: Preparation,
    counts: Counts,
    shortcuts: ShortcutCheck,
    *,
    campaigns: Sequence[Campaign],
    conflicts: LabelConflicts,
    tokens: TokenLengths | None = None,
) -> Report:
    """Return the report on a prepared folder; it shows no message unmasked.

    Without ``tokens`` the page says how to have them measured.
    """
    row_counts, method = preparation.counts, preparation.split.method
    splits = list(row_counts.splits)
    mapped = [label for split in row_counts.splits.values() for label in split]
    labels = list(dict.fromkeys([*mapped, *(label for _, label, _ in counts.rows)]))
    masked = preparation.text.mask_pii
    warnings = [
        *shortcut_warnings(shortcuts),
        *_warnings(preparation, counts, labels, conflicts),
        *_token_warnings(tokens),
    ]
    return Report(
        title=Message("Data report"),
        opening=_opening(preparation, shortcuts, n_labels=len(labels), n_warnings=len(warnings)),
        figure=labels_figure(counts, splits, labels),
        sections=[
            _warning_section(warnings),
            *count_sections(row_counts, counts, splits, labels),
            length_section(counts, labels),
            token_section(tokens),
            contamination_section(preparation.contamination, method),
            rejected_section(row_counts.rejected),
            pii_section(counts, labels, masked=masked),
            campaign_section(campaigns),
            conflict_section(conflicts),
            *shortcut_sections(shortcuts, labels),
        ],
    )


def _opening(
    preparation: Preparation, shortcuts: ShortcutCheck, *, n_labels: int, n_warnings: int
) -> list[str]:
    row_counts = preparation.counts
    inputs = [
        f"{Path(input_.path).name} ({input_.source})"
        for input_ in (*preparation.inputs, *preparation.tests)
    ]
    prepared_from = Message(
        "{n_messages:,} distinct messages of {n_labels} labels were prepared from {inputs}.",
        n_messages=row_counts.kept,
        n_labels=n_labels,
        inputs=joined(inputs, ", "),
    )
    if preparation.split.method == "given":
        prepared_from = Message(
            "{n_messages:,} messages of {n_labels} labels were prepared from {inputs}; copies are "
            "kept.",
            n_messages=row_counts.kept,
            n_labels=n_labels,
            inputs=joined(inputs, ", "),
        )
    sentences: list[str] = [
        prepared_from,
        Message(
            "They form {n_campaigns:,} campaigns and are split {how}: {sizes} messages.",
            n_campaigns=row_counts.groups,
            how=_split_words(preparation),
            sizes=split_sizes(row_counts),
        ),
        _contamination_sentence(preparation),
    ]
    if shortcuts.style is not None:
        sentences.append(
            Message(
                "A model that sees only the style of a message reaches macro-F1 {macro_f1:.2f}, "
                "where guessing reaches {chance:.2f}.",
                macro_f1=shortcuts.style.macro_f1,
                chance=shortcuts.chance.best,
            )
        )
    if n_warnings == 1:
        sentences.append(Message("Read the 1 warning below before training."))
    elif n_warnings:
        sentences.append(
            Message("Read the {n_warnings} warnings below before training.", n_warnings=n_warnings)
        )
    else:
        sentences.append(Message("No check on this page found a problem."))
    return sentences


def _split_words(preparation: Preparation) -> Message:
    split = preparation.split
    if preparation.tests:
        return Message("by campaign around the test set that was given")
    match split.method:
        case "group":
            return Message("by campaign")
        case "time":
            return Message("by time")
        case "source":
            return Message("by source, with {source} as the test set", source=split.held_out)
        case "random":
            return Message("randomly")
        case "given":
            return Message("as given")
        case "folds" if split.fold is not None:
            return Message(
                "by campaign, fold {fold} of {n_folds}", fold=split.fold + 1, n_folds=split.folds
            )
        case "folds":
            return Message("by campaign into folds")


def _contamination_sentence(preparation: Preparation) -> Message:
    method = preparation.split.method
    near = preparation.contamination[method].near
    if method == "random":
        return Message(
            "{share} of the test messages have a copy or near copy in train.", share=percent(near)
        )
    return Message(
        "{share} of the test messages have a copy or near copy in train; with a random split it "
        "would be {random_share}.",
        share=percent(near),
        random_share=percent(preparation.contamination["random"].near),
    )


def _warning_section(warnings: Sequence[str]) -> Section:
    if not warnings:
        return Section(Message("Warnings"), Message("None: no check on this page found a problem."))
    return Section(
        Message("Warnings"),
        Message("Read these before training."),
        [Caution(text) for text in warnings],
    )


def _warnings(
    preparation: Preparation, counts: Counts, labels: Sequence[str], conflicts: LabelConflicts
) -> list[Message]:
    """Return what is wrong with messages, labels and split."""
    sentences: list[Message] = []
    row_counts, method = preparation.counts, preparation.split.method
    if (near := preparation.contamination[method].near) >= _NEAR:
        sentences.append(
            Message(
                "{share} of the test messages have a near copy in train (split: {method}): the "
                "test score will measure memory. Split by group.",
                share=percent(near),
                method=method,
            )
        )
    if conflicts.outvoted and conflicts.outvoted >= _OUTVOTED * row_counts.kept:
        sentences.append(
            Message("{sentence} See label conflicts.", sentence=conflict_sentence(conflicts))
        )
    rejected = sum(row_counts.rejected.values())
    if rejected and rejected >= _REJECTED * row_counts.read:
        sentences.append(
            Message(
                "{n_rejected:,} of {n_rows:,} rows were rejected: see the reasons below.",
                n_rejected=rejected,
                n_rows=row_counts.read,
            )
        )
    if not preparation.text.mask_pii:
        sentences.append(
            Message("The prepared files hold personal information unmasked (--keep-pii).")
        )
    rows_by_label = summed(counts.rows, 1)
    few = [
        Message("{label} ({n_messages:,})", label=label, n_messages=rows_by_label[label,])
        for label in labels
        if rows_by_label[label,] < _FEW_ROWS
    ]
    if few:
        sentences.append(
            Message(
                "Labels of fewer than {few} messages can be neither learnt nor measured: {labels}",
                few=_FEW_ROWS,
                labels=joined(few, ", "),
            )
        )
    return sentences


def _token_warnings(tokens: TokenLengths | None) -> list[Message]:
    sentences: list[Message] = []
    if tokens is not None and tokens.share_cut >= _CUT:
        sentences.append(
            Message(
                "max_length {max_length} cuts {share} of the messages: the model does not read "
                "their end, often the link and the opt-out line. Raise it.",
                max_length=tokens.max_length,
                share=percent(tokens.share_cut),
            )
        )
    if tokens is not None and tokens.unknown and tokens.unknown.of_tokens >= _UNKNOWN:
        sentences.append(
            Message(
                "{share} of the tokens are unknown to the tokenizer and lost. Choose a checkpoint "
                "whose vocabulary fits these messages.",
                share=tenths(tokens.unknown.of_tokens),
            )
        )
    return sentences
