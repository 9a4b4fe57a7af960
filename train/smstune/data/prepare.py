"""From raw inputs to the prepared folder: clean, grouped, split, and measured."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import numpy as np

from smstune.arrays import Assigned, Ints
from smstune.campaigns.sketch import Sketches, sketch
from smstune.config.choices import SplitMethod
from smstune.config.schema import PrepareConfig
from smstune.config.shipped import find_config
from smstune.data.assign_campaigns import Campaigns, find_campaigns
from smstune.data.collect import Collected, collect, drop_labels
from smstune.data.label_accounts import rare_label_error, rare_labels, warn_of_few_messages
from smstune.data.manifest import FORMAT_VERSION, MANIFEST, Preparation, PreparedInput
from smstune.data.public.registry import terms_of
from smstune.data.readers.catalogue import Input, check_input, parse_input
from smstune.data.report.report import build_data_report
from smstune.data.report.sections import split_sizes
from smstune.data.report.shortcut_sections import shortcut_warnings
from smstune.data.report.shortcuts import check_shortcuts
from smstune.data.report.statistics import (
    Splits,
    count_splits,
    label_conflicts,
    largest_campaigns,
)
from smstune.data.report.tokens import TokenLengths, measure_tokens
from smstune.data.splits.assign import SplitChoice, assign, check_choice, explain_set_aside
from smstune.data.splits.contamination import measure_contamination
from smstune.data.splits.files import read_split, write_set_aside, write_splits
from smstune.data.splits.methods import FRACTIONS, SET_ASIDE, SPLIT_TITLES, SPLITS
from smstune.errors import UserError
from smstune.files import file_hash, folder_written_whole, refuse_to_overwrite, write_json
from smstune.inference.label_names import list_counts, list_names
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import TextOptions
from smstune.inference.origin import Contamination, RowCounts, SplitFacts
from smstune.language import Message, reader_language
from smstune.progress import progress
from smstune.reporting.html import render_html
from smstune.reporting.titles import report_with_titles
from smstune.tables.options import TableOptions
from smstune.text.normalize import NORMALIZER_VERSION

_UNCUT = 1 << 30
#: What a prepared folder can hold, and the folders of folds.
_WRITTEN = {
    *(f"{split}.parquet" for split in SPLITS),
    "rejected.jsonl", "set_aside.jsonl", "labels.json", "label_errors.jsonl", "report.html",
    MANIFEST,
}  # fmt: skip
_FOLD = re.compile(r"fold-\d+")
_RARE = Message("label of too few campaigns (--drop-rare)")

logger = logging.getLogger(__name__)


def prepare(
    section: PrepareConfig,
    output: Path,
    *,
    tokenizer: str | None = None,
    max_length: int = 128,
    overwrite: bool = False,
) -> Path:
    """Write the prepared folder that ``section`` describes and return its path.

    It holds ``train.parquet``, ``validation.parquet`` and ``test.parquet`` (columns text, label,
    source, time, group, copies, group_size, group_time), ``rejected.jsonl``, ``labels.json``,
    ``report.html`` and ``manifest.json``, whose counts add up: read = kept + merged + rejected.
    Messages of ``section.test`` are the test set, unchanged. With the split ``given`` each row has
    the split that its column ``split`` names, and all usable rows are kept unchanged. Rows that
    share a campaign with messages of ``section.test``, or with a held-out source, are set aside
    into ``set_aside.jsonl``. With the split ``folds`` the output holds one such folder for each
    fold. With a ``tokenizer`` (folder or hub id) the report says what ``max_length`` would cut.
    With ``overwrite`` an earlier prepared folder is replaced once the new one is complete.

    Memory holds some 130 bytes for each message; texts are read in batches.

    Raises:
        UserError: if an input cannot be read at all, no usable message remains, a label has too few
            campaigns, a split is empty, or ``output`` exists and must not be replaced.
    """
    inputs, tests = parse_inputs(section)
    _check_output(output, [input_.path for input_ in (*inputs, *tests)], overwrite=overwrite)
    labels = LabelMap.from_yaml(find_config(section.labels)) if section.labels else None
    options = table_options(section)
    choice = SplitChoice(section.split, section.held_out, section.folds, section.seed)
    check_choice(choice, has_test_set=bool(tests))
    for input_ in (*inputs, *tests):
        check_input(input_, options)
    text = TextOptions(
        normalizer_version=NORMALIZER_VERSION,
        mask_pii=section.mask_pii,
        drop_punctuation=section.drop_punctuation,
    )
    with folder_written_whole(output, overwrite=overwrite) as folder:
        collected = collect(inputs, labels, options, text=text, folder=folder, tests=tests)
        written_splits = _write_splits(folder, collected, choice, drop_rare=section.drop_rare)
        collected.path.unlink()
        # The report is made from the files: the numbers of every row are no longer needed.
        del collected
        tokens_of = None if tokenizer is None else _token_measure(tokenizer, max_length)
        for written in written_splits:
            preparation = Preparation(
                format_version=FORMAT_VERSION,
                text=text,
                inputs=_described(inputs),
                tests=_described(tests),
                terms=terms_of(input_.source for input_ in (*inputs, *tests)),
                counts=written.counts,
                dropped_labels=list(written.dropped_labels),
                split=written.split,
                contamination=written.contamination,
                sha256={
                    f"{split}.parquet": file_hash(written.folder / f"{split}.parquet")
                    for split in SPLITS
                },
            )
            _write_report(written.folder, preparation, tokens_of)
            write_json(written.folder / MANIFEST, preparation.to_json())
    return output


def _check_output(output: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Check that a preparation can be written to ``output``.

    Raises:
        UserError: if it has files that no preparation wrote, holds an input, or exists and is not
            to be overwritten.
    """
    foreign_name = _foreign_name(output)
    if foreign_name is not None:
        raise UserError(
            "{output} cannot be overwritten, because {foreign_name} was not written by smstune "
            "prepare: name another output",
            output=output,
            foreign_name=foreign_name,
        )
    if any(path.resolve().is_relative_to(output.resolve()) for path in inputs if path.exists()):
        raise UserError("the output {output} holds an input: name another output", output=output)
    refuse_to_overwrite(output, inputs, overwrite=overwrite)


def _foreign_name(output: Path) -> str | None:
    """Return the name of a file that no preparation wrote, ``None`` if there is none."""
    if output.exists() and not output.is_dir():
        return output.name
    if not output.is_dir() or not any(output.iterdir()):
        return None
    folds = [path for path in output.iterdir() if _FOLD.fullmatch(path.name) and path.is_dir()]
    for folder in folds or [output]:
        foreign = sorted({path.name for path in folder.iterdir()} - _WRITTEN)
        if foreign:
            return foreign[0]
        try:
            Preparation.model_validate_json((folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            # Another command's manifest, or none.
            return min(path.name for path in folder.iterdir())
    foreign = sorted({path.name for path in output.iterdir()} - {path.name for path in folds})
    return foreign[0] if folds and foreign else None


def table_options(section: PrepareConfig, *, labelled: bool = True) -> TableOptions:
    """Return how the tables of a section are read: its columns, sheet, header and layout.

    The column ``split`` is read for the split ``given`` alone, and for ``labelled`` messages.
    """
    return TableOptions(
        text=section.text_column,
        label=section.label_column,
        group=section.group_column,
        time=section.time_column,
        split="split" if labelled and section.split == "given" else None,
        labelled=labelled,
        sheet=section.sheet,
        header=False if section.no_header else None,
        layout=section.layout,
    )


def parse_inputs(section: PrepareConfig) -> tuple[list[Input], list[Input]]:
    """Return the inputs and the test sets that a section names."""
    inputs = [parse_input(text, section.source) for text in section.inputs]
    tests = [parse_input(text, section.source) for text in section.test]
    paths = {input_.path.resolve() for input_ in inputs}
    for test in tests:
        if test.path.resolve() in paths:
            raise UserError("the test set {path} is given twice: name it once", path=test.path)
        paths.add(test.path.resolve())
    return inputs, tests


def _described(inputs: Sequence[Input]) -> list[PreparedInput]:
    return [PreparedInput(path=str(input_.path), source=input_.source) for input_ in inputs]


@dataclass(frozen=True)
class WrittenSplits:
    """A folder that holds the split files, with what is in them and how they were split."""

    folder: Path
    counts: RowCounts
    dropped_labels: tuple[str, ...]
    split: SplitFacts
    contamination: dict[SplitMethod, Contamination]


def _write_splits(
    folder: Path, collected: Collected, choice: SplitChoice, *, drop_rare: bool
) -> list[WrittenSplits]:
    """Group, split and write; the method ``folds`` makes a folder for each fold."""
    written_splits = []
    has_folds = choice.method == "folds"
    with TemporaryDirectory(dir=folder) as scratch:
        sketches, campaigns = _sketched(collected, Path(scratch))
        rare = rare_labels(collected.labels, collected.label_ids, campaigns.groups)
        # A split that was given says by itself whether train has a label.
        if rare and not drop_rare and choice.method != "given":
            raise rare_label_error(rare)
        if rare and drop_rare:
            logger.warning(
                "warning: --drop-rare drops these labels and their messages: %s",
                list_counts(rare, "campaign"),
            )
            collected = drop_labels(collected, rare, _RARE)
            # Other campaigns may fall apart, because a dropped message linked their messages.
            sketches, campaigns = _sketched(collected, Path(scratch) / "common")
        warn_of_few_messages(collected.labels, collected.label_ids)
        for number, assigned in enumerate(assign(choice, collected, campaigns, sketches)):
            _check_splits(assigned, collected)
            split_folder = folder / f"fold-{number}" if has_folds else folder
            if has_folds:
                split_folder.mkdir()
                copyfile(folder / "rejected.jsonl", split_folder / "rejected.jsonl")
            write_splits(split_folder, collected, campaigns, assigned)
            if (assigned == SET_ASIDE).any():
                aside = explain_set_aside(assigned, campaigns.groups, sketches)
                write_set_aside(split_folder / "set_aside.jsonl", collected, aside)
            collected.labels.save(split_folder / "labels.json")
            counts = _counts(collected, campaigns.groups, assigned)
            _log_splits(counts, split_folder.name if has_folds else None)
            split = SplitFacts(
                method=choice.method,
                held_out=choice.held_out,
                seed=choice.seed,
                fractions=() if choice.method == "given" else FRACTIONS,
                **({"fold": number, "folds": choice.folds} if has_folds else {}),
            )
            contamination = measure_contamination(assigned, choice, collected, sketches)
            written_splits.append(
                WrittenSplits(split_folder, counts, collected.dropped_labels, split, contamination)
            )
    if has_folds:
        (folder / "rejected.jsonl").unlink()
    return written_splits


def _sketched(collected: Collected, scratch: Path) -> tuple[Sketches, Campaigns]:
    """Return the sketches of the messages, whose files go into ``scratch``, and the campaigns."""
    scratch.mkdir(exist_ok=True)
    texts = progress(collected.texts(), Message("grouping"), len(collected.label_ids))
    sketches = sketch(texts, scratch)
    return sketches, find_campaigns(collected, sketches)


def _check_splits(assigned: Assigned, collected: Collected) -> None:
    names = collected.labels.names
    totals = np.bincount(collected.label_ids, minlength=len(names))
    for index, split in enumerate(SPLITS):
        counts = np.bincount(collected.label_ids[assigned == index], minlength=len(names))
        missing = np.flatnonzero((counts == 0) & (totals > 0))
        if not (assigned == index).any():
            raise UserError(
                "expected messages for every split, found none for {split} among "
                "{n_assigned} distinct messages: add messages of other campaigns",
                split=SPLIT_TITLES[split],
                n_assigned=len(assigned),
            )
        if len(missing):
            logger.warning(
                "warning: %s has no message of %s",
                SPLIT_TITLES[split],
                list_names(names[label] for label in missing),
            )


def _write_report(
    folder: Path, preparation: Preparation, tokens_of: Callable[[Splits], TokenLengths] | None
) -> None:
    splits = {name: read_split(folder / f"{name}.parquet") for name in SPLITS}
    shortcuts = check_shortcuts(splits, seed=preparation.split.seed)
    for sentence in shortcut_warnings(shortcuts):
        logger.warning("warning: %s", sentence)
    shown_names = LabelMap.load(folder / "labels.json").shown_names(reader_language())
    report = build_data_report(
        preparation,
        count_splits(splits, masked=preparation.text.mask_pii),
        shortcuts,
        campaigns=[
            replace(campaign, labels={shown_names[name]: n for name, n in campaign.labels.items()})
            for campaign in largest_campaigns(splits)
        ],
        conflicts=label_conflicts(splits),
        tokens=tokens_of and tokens_of(splits),
    )
    (folder / "report.html").write_text(
        render_html(report_with_titles(report, shown_names)), "utf-8"
    )


def _token_measure(name: str, max_length: int) -> Callable[[Splits], TokenLengths]:
    """Return a function that measures splits in tokens of the tokenizer ``name``."""
    # transformers takes seconds to load, and most preparations do without it.
    from smstune.modeling.tokenization import build_encoder, load_tokenizer

    encoder = build_encoder(load_tokenizer(name), _UNCUT)
    return lambda splits: measure_tokens(splits, encoder.encode, encoder.unknown_id, max_length)


def _log_splits(counts: RowCounts, fold: str | None) -> None:
    sizes = split_sizes(counts)
    if fold:
        logger.info("%s: %s; %s campaigns", fold, sizes, f"{counts.groups:,}")
    else:
        logger.info("%s; %s campaigns", sizes, f"{counts.groups:,}")
    if counts.set_aside:
        logger.info(
            "  set aside %s that resemble test messages: set_aside.jsonl", f"{counts.set_aside:,}"
        )


def _counts(collected: Collected, groups: Ints, assigned: Assigned) -> RowCounts:
    names = collected.labels.names
    splits = {}
    for index, split in enumerate(SPLITS):
        counts = np.bincount(collected.label_ids[assigned == index], minlength=len(names))
        splits[split] = dict(zip(names, counts.tolist(), strict=True))
    return RowCounts(
        read=collected.read,
        kept=len(assigned),
        merged=collected.merged.count,
        rejected={
            reason: rows.count
            for reason, rows in sorted(collected.rejected.items(), key=lambda item: -item[1].count)
        },
        set_aside=int((assigned == SET_ASIDE).sum()),
        groups=len(np.unique(groups)),
        splits=splits,
    )
