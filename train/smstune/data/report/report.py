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
    token_section,
)
from smstune.data.report.shortcut_sections import shortcut_sections, shortcut_warnings
from smstune.data.report.shortcuts import ShortcutCheck
from smstune.data.report.statistics import Campaign, Counts, LabelConflicts, summed
from smstune.data.report.tokens import TokenLengths
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
        title="Data report",
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
    sizes = ", ".join(
        f"{split} {sum(by_label.values()):,}" for split, by_label in row_counts.splits.items()
    )
    sentences = [
        f"{row_counts.kept:,} distinct messages of {n_labels} labels were prepared from "
        f"{', '.join(inputs)}.",
        f"They form {row_counts.groups:,} campaigns and are split {_split_words(preparation)}: "
        f"{sizes} messages.",
        _contamination_sentence(preparation),
    ]
    if shortcuts.style is not None:
        sentences.append(
            "A model that sees only the style of a message reaches macro-F1 "
            f"{shortcuts.style.macro_f1:.2f}, where guessing reaches {shortcuts.chance.best:.2f}."
        )
    if n_warnings:
        noun = "warning" if n_warnings == 1 else "warnings"
        sentences.append(f"Read the {n_warnings} {noun} below before training.")
    else:
        sentences.append("No check on this page found a problem.")
    return sentences


def _split_words(preparation: Preparation) -> str:
    split = preparation.split
    if preparation.tests:
        return "by campaign around the test set that was given"
    match split.method:
        case "group":
            return "by campaign"
        case "time":
            return "by time"
        case "source":
            return f"by source, with {split.held_out} as the test set"
        case "random":
            return "at random"
        case "folds" if split.fold is not None:
            return f"by campaign, fold {split.fold + 1} of {split.folds}"
        case "folds":
            return "by campaign into folds"


def _contamination_sentence(preparation: Preparation) -> str:
    method = preparation.split.method
    near = preparation.contamination[method].near
    sentence = f"{percent(near)} of the test messages have a copy or near copy in train"
    if method == "random":
        return f"{sentence}."
    random_near = preparation.contamination["random"].near
    return f"{sentence}; with a random split it would be {percent(random_near)}."


def _warning_section(warnings: Sequence[str]) -> Section:
    if not warnings:
        return Section("Warnings", "None: no check on this page found a problem.")
    return Section("Warnings", "Read these before training.", [Caution(text) for text in warnings])


def _warnings(
    preparation: Preparation, counts: Counts, labels: Sequence[str], conflicts: LabelConflicts
) -> list[str]:
    """Return what is wrong with messages, labels and split."""
    sentences = []
    row_counts, method = preparation.counts, preparation.split.method
    if (near := preparation.contamination[method].near) >= _NEAR:
        sentences.append(
            f"{percent(near)} of the test messages have a near copy in train (split: {method}): "
            "the test score will measure memory. Split by group."
        )
    if conflicts.outvoted and conflicts.outvoted >= _OUTVOTED * row_counts.kept:
        sentences.append(conflict_sentence(conflicts) + " See label conflicts.")
    rejected = sum(row_counts.rejected.values())
    if rejected and rejected >= _REJECTED * row_counts.read:
        sentences.append(
            f"{rejected:,} of {row_counts.read:,} rows were rejected: see the reasons below."
        )
    if not preparation.text.mask_pii:
        sentences.append("The prepared files hold personal information unmasked (--keep-pii).")
    rows_by_label = summed(counts.rows, 1)
    few = [
        f"{label} ({rows_by_label[label,]:,})"
        for label in labels
        if rows_by_label[label,] < _FEW_ROWS
    ]
    if few:
        sentences.append(
            f"Labels of fewer than {_FEW_ROWS} messages can be neither learnt nor measured: "
            + ", ".join(few)
        )
    return sentences


def _token_warnings(tokens: TokenLengths | None) -> list[str]:
    sentences = []
    if tokens is not None and tokens.share_cut >= _CUT:
        sentences.append(
            f"max_length {tokens.max_length} cuts {percent(tokens.share_cut)} of the messages: the "
            "model does not read their end, often the link and the opt-out line. Raise it."
        )
    if tokens is not None and tokens.unknown and tokens.unknown.of_tokens >= _UNKNOWN:
        sentences.append(
            f"{100 * tokens.unknown.of_tokens:.1f} % of the tokens are unknown to the tokenizer "
            "and lost. Choose a checkpoint whose vocabulary fits these messages."
        )
    return sentences
