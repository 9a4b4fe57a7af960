"""From raw inputs to the prepared folder: clean, grouped, split, and measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from numpy.typing import NDArray
from tqdm import tqdm

from train.command import UserError, folder_written_whole
from train.data.assign import (
    BY_GROUP,
    Assigned,
    SplitChoice,
    assign,
    explain_set_aside,
    find_campaigns,
    measure_contamination,
)
from train.data.campaigns import label_conflicts, largest_campaigns
from train.data.checksum import file_hash
from train.data.collect import Collected, collect
from train.data.labels import LabelMap
from train.data.report import Tokenize, render_data_report
from train.data.shortcuts import check_shortcuts
from train.data.sketch import sketch
from train.data.sources import DEFAULT_COLUMNS, Columns, Input
from train.data.split import FRACTIONS, SET_ASIDE, SPLITS
from train.data.split_files import read_split, write_set_aside, write_splits
from train.data.text import NORMALIZER_VERSION

FORMAT_VERSION = 1
_UNCUT = 1 << 30

logger = logging.getLogger(__name__)


def prepare(
    inputs: Sequence[Input],
    output: Path,
    *,
    tests: Sequence[Input] = (),
    labels: LabelMap | None = None,
    columns: Columns = DEFAULT_COLUMNS,
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
            (place / "manifest.json").write_text(
                json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", "utf-8"
            )
    return output


def _write_parts(
    folder: Path, collected: Collected, choice: SplitChoice, known: dict[str, Any]
) -> dict[Path, dict[str, Any]]:
    """Group, split and write; return the manifest of each folder that now holds the splits."""
    written = {}
    with TemporaryDirectory(dir=folder) as scratch:
        sketches = sketch(tqdm(collected.texts(), "comparing", unit=" messages"), Path(scratch))
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
            written[place] = known | {
                "counts": _counts(collected, campaigns.groups, assigned),
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


def load_split(folder: Path, split: str) -> Dataset:
    """Return one split of a prepared folder.

    Raises:
        UserError: if the folder was not prepared or its file is broken.
    """
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise UserError(
            f"expected a folder that scripts/prepare.py left, found no {path.name} in {folder}: "
            "run prepare.py first or mend data.path"
        )
    try:
        return Dataset(pq.read_table(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: expected parquet, found a broken file: prepare again") from error


def load_preparation(folder: Path) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Raises:
        UserError: if there is none, or it was prepared by another normaliser.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"expected a folder that scripts/prepare.py left, found no manifest.json in {folder}: "
            "run prepare.py first or mend data.path"
        )
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    version = manifest["text"]["normalizer_version"]
    if version != NORMALIZER_VERSION:
        raise UserError(
            f"expected data of normaliser version {NORMALIZER_VERSION}, found {version} in "
            f"{folder}: prepare again"
        )
    return manifest


def provenance(preparation: dict[str, Any]) -> dict[str, Any]:
    """Return what a model must say of the data in a prepared folder, from that folder's manifest.

    ``sources``, the names of where its messages came from; ``terms``, each public set's once;
    ``counts``.
    """
    # Folders prepared before test sets could be given do not name any.
    every = [*preparation["inputs"], *preparation.get("tests", ())]
    return {
        "sources": sorted({item["source"] for item in every}),
        "terms": list({terms["name"]: terms for terms in preparation["terms"]}.values()),
        "counts": preparation["counts"],
    }


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
    from train.data.tokenization import load_tokenizer, tokenize

    loaded = load_tokenizer(name)
    return lambda texts: tokenize(texts, loaded, _UNCUT), loaded.unk_token_id


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
