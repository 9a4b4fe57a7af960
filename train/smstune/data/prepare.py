"""From raw inputs to the prepared folder: clean, grouped, split, and measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smstune.arrays import Assigned
from smstune.campaigns.sketch import sketch
from smstune.data.assign_campaigns import find_campaigns
from smstune.data.collect import Collected, collect
from smstune.data.prepared import FORMAT_VERSION
from smstune.data.readers.catalogue import Input
from smstune.data.report.report import Tokenize, render_data_report
from smstune.data.report.shortcuts import check_shortcuts
from smstune.data.report.statistics import label_conflicts, largest_campaigns
from smstune.data.splits.assign import BY_GROUP, SplitChoice, assign, explain_set_aside
from smstune.data.splits.contamination import measure_contamination
from smstune.data.splits.files import read_split, write_set_aside, write_splits
from smstune.data.splits.methods import FRACTIONS, SET_ASIDE, SPLITS
from smstune.errors import UserError
from smstune.files import file_hash, folder_written_whole, write_json
from smstune.inference.labels import LabelMap
from smstune.progress import progress
from smstune.tables.columns import Columns
from smstune.text.normalize import NORMALIZER_VERSION

_UNCUT = 1 << 30

logger = logging.getLogger(__name__)


def prepare(
    inputs: Sequence[Input],
    output: Path,
    *,
    tests: Sequence[Input] = (),
    labels: LabelMap | None = None,
    columns: Columns = Columns(),
    mask: bool = True,
    split: SplitChoice = BY_GROUP,
    terms: Sequence[dict[str, Any]] = (),
    tokenizer: str | None = None,
    max_length: int = 128,
) -> Path:
    """Write the prepared folder and return its path.

    It holds ``train.parquet``, ``validation.parquet`` and ``test.parquet`` (columns text, label,
    source, time, group, copies, group_size, group_time), ``rejected.jsonl``, ``labels.json``,
    ``report.html`` and ``manifest.json``, whose counts add up: read = kept + merged + rejected.
    Messages of ``tests`` are the test set as they are. Rows that share a campaign with a test set
    so given, or with a held-out source, are set aside into ``set_aside.jsonl``. With the method
    ``folds`` the output holds one such folder for each fold. ``terms`` of public sets go into the
    manifest as they are. With a ``tokenizer`` (folder or hub id) the report says what
    ``max_length`` would cut.

    Memory holds some 130 bytes for each message; texts are read in batches.

    Raises:
        UserError: if an input cannot be read at all, nothing usable is left, or a split stays
            empty.
    """
    with folder_written_whole(output) as folder:
        collected = collect(inputs, labels, columns, mask=mask, folder=folder, tests=tests)
        _log_rows(collected)
        known = {
            "format_version": FORMAT_VERSION,
            "text": {"normalizer_version": NORMALIZER_VERSION, "mask_pii": mask},
            "inputs": [{"path": str(item.path), "source": item.source} for item in inputs],
            "tests": [{"path": str(item.path), "source": item.source} for item in tests],
            "terms": list(terms),
        }
        written = _write_parts(folder, collected, split, known)
        collected.path.unlink()
        del collected
        measure = None if tokenizer is None else _measure_tokens(tokenizer)
        for place, manifest in written.items():
            _write_report(place, manifest, split.seed, measure, max_length)
            write_json(place / "manifest.json", manifest)
    return output


def _write_parts(
    folder: Path, collected: Collected, choice: SplitChoice, known: dict[str, Any]
) -> dict[Path, dict[str, Any]]:
    """Group, split and write; return the manifest of each folder that now holds the splits."""
    written = {}
    rows = len(collected.label_ids)
    with TemporaryDirectory(dir=folder) as scratch:
        sketches = sketch(progress(collected.texts(), "grouping", rows), Path(scratch))
        campaigns = find_campaigns(collected, sketches)
        for number, assigned in enumerate(assign(choice, collected, campaigns, sketches)):
            _check_splits(assigned, collected)
            place, fold = folder, {}
            if choice.method == "folds":
                place, fold = folder / f"fold-{number}", {"fold": number, "folds": choice.folds}
                place.mkdir()
                copyfile(folder / "rejected.jsonl", place / "rejected.jsonl")
            write_splits(place, collected, campaigns, assigned)
            if (assigned == SET_ASIDE).any():
                aside = explain_set_aside(assigned, campaigns.groups, sketches)
                write_set_aside(place / "set_aside.jsonl", collected, aside)
            collected.labels.save(place / "labels.json")
            counts = _counts(collected, campaigns.groups, assigned)
            _log_splits(counts, place.name if choice.method == "folds" else None)
            written[place] = known | {
                "counts": counts,
                "split": {
                    "method": choice.method,
                    "held_out": choice.held_out,
                    **fold,
                    "seed": choice.seed,
                    "fractions": FRACTIONS,
                },
                "contamination": measure_contamination(assigned, choice, collected, sketches),
                "sha256": {f"{one}.parquet": file_hash(place / f"{one}.parquet") for one in SPLITS},
            }
    if choice.method == "folds":
        (folder / "rejected.jsonl").unlink()
    return written


def _check_splits(assigned: Assigned, collected: Collected) -> None:
    names = collected.labels.names
    every = np.bincount(collected.label_ids, minlength=len(names))
    for index, split in enumerate(SPLITS):
        rows = np.bincount(collected.label_ids[assigned == index], minlength=len(names))
        missing = np.flatnonzero((rows == 0) & (every > 0))
        if not (assigned == index).any():
            raise UserError(
                f"expected messages for every split, found none for {split} among "
                f"{len(assigned)} distinct messages: at least three groups a label are needed"
            )
        if len(missing):
            logger.warning(
                "warning: %s holds no message of %s",
                split,
                ", ".join(names[label] for label in missing),
            )
    if len(absent := np.flatnonzero(every == 0)):
        logger.warning("warning: no message of %s", ", ".join(names[label] for label in absent))


def _write_report(
    folder: Path,
    manifest: dict[str, Any],
    seed: int,
    measure: tuple[Tokenize, int | None] | None,
    max_length: int,
) -> None:
    splits = {name: read_split(folder / f"{name}.parquet") for name in SPLITS}
    style = check_shortcuts(splits, seed=seed)
    for sentence in style["warnings"]:
        logger.warning("warning: %s", sentence)
    page = render_data_report(
        manifest,
        splits,
        style=style,
        campaigns=largest_campaigns(splits),
        conflicts=label_conflicts(splits),
        tokenizer=measure and measure[0],
        unknown_id=measure and measure[1],
        max_length=max_length,
    )
    (folder / "report.html").write_text(page, "utf-8")


def _measure_tokens(name: str) -> tuple[Tokenize, int | None]:
    """Return the tokenisation of ``name``, uncut, and the id of its unknown token."""
    # transformers takes seconds to load and most preparations do without.
    from smstune.inference.tokenization import tokenize
    from smstune.modeling.tokenization import load_tokenizer

    loaded = load_tokenizer(name)
    return lambda texts: tokenize(texts, loaded, _UNCUT), loaded.unk_token_id


def _log_rows(collected: Collected) -> None:
    logger.info(
        "read %s rows: kept %s, merged %s copies, rejected %s",
        f"{collected.read:,}",
        f"{len(collected.label_ids):,}",
        f"{collected.merged:,}",
        f"{collected.rejected.total():,}",
    )
    for reason, count in collected.rejected.most_common():
        logger.info("  %s x %s", f"{count:,}", reason)
    if collected.rejected:
        logger.info("  file, line and reason of each are in rejected.jsonl")


def _log_splits(counts: Mapping[str, Any], fold: str | None) -> None:
    sizes = ", ".join(
        f"{split} {sum(labels.values()):,}" for split, labels in counts["splits"].items()
    )
    logger.info("%s%s; %s campaigns", f"{fold}: " if fold else "", sizes, f"{counts['groups']:,}")
    if counts["set_aside"]:
        logger.info("  set aside %s like test: set_aside.jsonl", f"{counts['set_aside']:,}")


def _counts(collected: Collected, groups: NDArray[np.int64], assigned: Assigned) -> dict[str, Any]:
    names = collected.labels.names
    per_split = {}
    for index, split in enumerate(SPLITS):
        rows = np.bincount(collected.label_ids[assigned == index], minlength=len(names))
        per_split[split] = dict(zip(names, rows.tolist(), strict=True))
    return {
        "read": collected.read,
        "kept": len(assigned),
        "merged": collected.merged,
        "rejected": dict(collected.rejected.most_common()),
        "set_aside": int((assigned == SET_ASIDE).sum()),
        "groups": len(np.unique(groups)),
        "splits": per_split,
    }
