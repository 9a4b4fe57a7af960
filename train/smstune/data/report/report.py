"""The data report: what a preparation kept and what is wrong with it, before anyone trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smstune.data.report.shortcut_sections import shortcut_sections
from smstune.data.report.statistics import (
    Campaign,
    Counts,
    LabelConflicts,
    Splits,
    count_splits,
    summed,
    take_rows,
)
from smstune.data.splits.contamination import TEST_SAMPLE
from smstune.reporting.charts import bars, histogram
from smstune.reporting.format import SPREAD, percent, spread
from smstune.reporting.html import Section, grid, render_page, table, warning
from smstune.text.pii.placeholders import PLACEHOLDERS

#: Texts to token ids, special tokens included, not cut.
Tokenize = Callable[[Sequence[str]], list[list[int]]]

_TOKEN_ROWS = 20_000
# Shares from which a finding is worth a warning, and the fewest messages of a label.
_CUT, _UNKNOWN, _REJECTED, _OUTVOTED, _NEAR = 0.05, 0.01, 0.05, 0.01, 0.01
_FEW_ROWS = 30


def render_data_report(
    manifest: Mapping[str, Any],
    splits: Splits,
    *,
    style: Mapping[str, Any],
    campaigns: Sequence[Campaign],
    conflicts: LabelConflicts,
    tokenizer: Tokenize | None = None,
    unknown_id: int | None = None,
    max_length: int = 128,
) -> str:
    """Return ``report.html``, which shows no message unmasked.

    ``style`` is what ``check_shortcuts`` returned. ``tokenizer`` gives uncut token ids, of which
    ``unknown_id`` stands for what the vocabulary lacks; without it the page says what is missing.
    """
    masked = manifest["text"]["mask_pii"]
    counted = count_splits(splits, masked=masked)
    named = (label for rows in manifest["counts"]["splits"].values() for label in rows)
    labels = list(dict.fromkeys([*named, *(label for _, label, _ in counted.rows)]))
    tokens, unread = _token_section(splits, tokenizer, unknown_id, max_length)
    found = [*style["warnings"], *_warnings(manifest, counted, labels, conflicts), *unread]
    return render_page(
        "Data report",
        _summary(manifest, len(labels)),
        [
            Section("Warnings", "Read these before training.", [warning(one) for one in found])
            if found
            else Section("Warnings", "None: no check on this page found anything to warn of."),
            *_count_sections(manifest, counted, labels),
            _length_section(counted, labels),
            tokens,
            _contamination_section(manifest),
            _rejected_section(manifest),
            _pii_section(counted, labels, masked=masked),
            _campaign_section(campaigns),
            _conflict_section(conflicts),
            *shortcut_sections(style, labels),
        ],
    )


def _summary(manifest: Mapping[str, Any], labels: int) -> str:
    counts = manifest["counts"]
    every = [*manifest["inputs"], *manifest["tests"]]
    inputs = [f"{Path(item['path']).name} ({item['source']})" for item in every]
    return (
        f"{counts['kept']:,} distinct messages of {labels} labels in {counts['groups']:,} campaigns"
        f", from {', '.join(inputs)}. Split by: {manifest['split']['method']}."
    )


def _warnings(
    manifest: Mapping[str, Any],
    counted: Counts,
    labels: Sequence[str],
    conflicts: LabelConflicts,
) -> list[str]:
    """Say what is wrong apart from shortcuts."""
    found = []
    counts, chosen = manifest["counts"], manifest["split"]["method"]
    if (near := manifest["contamination"].get(chosen, {}).get("near", 0.0)) >= _NEAR:
        found.append(
            f"{percent(near)} of the test messages have a near copy in train (split: {chosen}): "
            "the test score will measure memory. Split by group."
        )
    if conflicts.outvoted and conflicts.outvoted >= _OUTVOTED * counts["kept"]:
        found.append(_conflict_line(conflicts) + " See label conflicts.")
    rejected = sum(counts["rejected"].values())
    if rejected and rejected >= _REJECTED * counts["read"]:
        found.append(f"{rejected:,} of {counts['read']:,} rows were rejected: see why below.")
    if not manifest["text"]["mask_pii"]:
        found.append("The prepared files hold personal information unmasked (--keep-pii).")
    rows = summed(counted.rows, 1)
    if few := [f"{one} ({rows[one,]:,})" for one in labels if rows[one,] < _FEW_ROWS]:
        found.append(
            f"Labels of fewer than {_FEW_ROWS} messages can be neither learnt nor measured: "
            + ", ".join(few)
        )
    return found


def _count_sections(
    manifest: Mapping[str, Any], counted: Counts, labels: Sequence[str]
) -> list[Section]:
    counts = manifest["counts"]
    splits = list(counts["splits"])
    sources = [source for (source,) in summed(counted.rows, 2)]
    of_label = summed(counted.rows, 1, 0)
    series = {split: [of_label[label, split] for label in labels] for split in splits}
    note = (
        f"{counts['read']:,} rows were read, {counts['merged']:,} merged into an equal one, "
        f"{sum(counts['rejected'].values()):,} rejected, {counts['kept']:,} kept"
    )
    if counts["set_aside"]:
        note += f", {counts['set_aside']:,} of them set aside for what they share with test"
    drawing = bars(labels, series, "messages", "Messages of each label as bars, a colour a split")
    parts = [grid("source", sources, splits, summed(counted.rows, 2, 0))]
    if len(sources) > 1:
        parts.append(grid("label", labels, sources, summed(counted.rows, 1, 2)))
    return [
        Section("Labels", f"{note}.", [drawing, grid("label", labels, splits, of_label)]),
        Section("Sources", "", parts),
    ]


def _length_section(counted: Counts, labels: Sequence[str]) -> Section:
    of_label: dict[str, Counter[int]] = {label: Counter() for label in labels}
    for (label, length), count in counted.lengths.items():
        of_label[label][length] += count
    every = sum(of_label.values(), Counter[int]())
    rows = [[name, *spread(sizes)] for name, sizes in [*of_label.items(), ("all", every)]]
    return Section(
        "Length in characters",
        "A placeholder counts as written: [PHONE] is seven characters. An SMS of more than 70 is "
        "sent in several parts.",
        [histogram(every, "characters"), table(["label", *SPREAD], rows)],
    )


def _token_section(
    splits: Splits, tokenizer: Tokenize | None, unknown_id: int | None, max_length: int
) -> tuple[Section, list[str]]:
    """Return the section and its warnings, measured on a random sample."""
    title, warnings = "Length in tokens", []
    if tokenizer is None:
        needs = "smstune prepare --tokenizer shows what max_length cuts and what is unknown."
        return Section(title, f"Not measured: {needs}"), []
    total = sum(rows.metadata.num_rows for rows in splits.values())
    rows = np.sort(np.random.default_rng(0).permutation(total)[:_TOKEN_ROWS])
    ids = tokenizer(take_rows(splits, rows, ["text"])["text"].to_pylist())
    lengths = np.array([len(row) for row in ids])
    cut = float((lengths > max_length).mean())
    shares = [[f"messages cut by max_length {max_length}", percent(cut)]]
    if cut >= _CUT:
        warnings.append(
            f"max_length {max_length} cuts {percent(cut)} of the messages: their end, often the "
            "link and the opt-out line, stays unread. Raise it."
        )
    if unknown_id is not None:
        unknown = np.array([row.count(unknown_id) for row in ids])
        share = float(unknown.sum() / lengths.sum())
        shares.append(["tokens that are unknown", f"{100 * share:.2f} %"])
        shares.append(["messages with an unknown token", percent(float((unknown > 0).mean()))])
        if share >= _UNKNOWN:
            warnings.append(
                f"{100 * share:.1f} % of the tokens are unknown to the tokenizer and lost. "
                "Choose a checkpoint whose vocabulary fits these messages."
            )
    note = f"Of {len(ids):,} of {total:,} messages, special tokens included."
    parts = [histogram(counts := Counter(lengths.tolist()), "tokens")]
    parts += [table(SPREAD, [spread(counts)]), table(["", "share"], shares)]
    return Section(title, note, parts), warnings


def _contamination_section(manifest: Mapping[str, Any]) -> Section:
    rows = [
        [f"{name}, this one" if name == manifest["split"]["method"] else name]
        + [f"{100 * share[kind]:.1f} %" for kind in ("exact", "near")]
        for name, share in manifest["contamination"].items()
    ]
    return Section(
        "Contamination",
        f"Share of the test messages (of more than {TEST_SAMPLE:,} a sample) with a copy in train. "
        "What a random split has more is what a score on it would owe to memory.",
        [table(["split", "exact copy", "near copy"], rows)],
    )


def _rejected_section(manifest: Mapping[str, Any]) -> Section:
    rows = [[reason, count] for reason, count in manifest["counts"]["rejected"].items()]
    note = "rejected.jsonl names the file and line of each." if rows else "None."
    return Section("Rejected rows", note, [table(["reason", "rows"], rows)] if rows else [])


def _pii_section(counted: Counts, labels: Sequence[str], *, masked: bool) -> Section:
    marks = {(*key, mark.strip("[]")): n for (*key, mark), n in counted.marks.items() if n}
    of_source, of_label = summed(marks, 2, 1), summed(marks, 0, 2)
    sources = [source for (source,) in summed(counted.rows, 2)]
    found = {kind for kind, _ in of_source}
    kinds = [kind for mark in PLACEHOLDERS if (kind := mark.strip("[]")) in found]
    if not kinds:
        return Section("Personal information", "None was found.")
    return Section(
        "Personal information",
        ("Found and masked" if masked else "Found and NOT masked")
        + ", by type. Masking is de-identification, not anonymisation: what a message says may "
        "still identify a person. Names and addresses are not looked for.",
        [grid("label", labels, kinds, of_label), grid("type", kinds, sources, of_source)],
    )


def _campaign_section(campaigns: Sequence[Campaign]) -> Section:
    head = ["messages", "example", "labels", "distinct", "first time"]
    rows = []
    for one in campaigns:
        labels = ", ".join(f"{label} {count:,}" for label, count in one.labels.items())
        rows.append([one.copies, one.example, labels, one.rows, one.first_time])
    return Section(
        "Largest campaigns",
        "A campaign is a group of near-duplicate messages. Messages count exact copies; labels and "
        "distinct do not. A dash: no message has a time.",
        [table(head, rows, text_columns=["example", "labels"])],
    )


def _conflict_line(conflicts: LabelConflicts) -> str:
    if not conflicts.groups:
        return "No campaign bears several labels."
    return (
        f"Campaigns under several labels: {conflicts.groups:,}, with {conflicts.rows:,} messages, "
        f"of which {conflicts.outvoted:,} bear another label than most of their campaign."
    )


def _conflict_section(conflicts: LabelConflicts) -> Section:
    head = ["campaign of", "example", "label", "messages"]
    rows = [
        [one.rows if at == 0 else "", one.examples[label], label, count]
        for one in conflicts.largest
        for at, (label, count) in enumerate(one.labels.items())
    ]
    parts = [table(head, rows, text_columns=["example", "label"])] if rows else []
    return Section("Label conflicts", _conflict_line(conflicts), parts)
