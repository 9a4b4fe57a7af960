"""From raw inputs to the prepared folder: clean, grouped, split, and measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from train.command import UserError, folder_written_whole
from train.data.campaigns import label_conflicts, largest_campaigns
from train.data.checksum import file_hash
from train.data.collect import Collected, collect
from train.data.dedup import campaign_groups
from train.data.labels import LabelMap
from train.data.report import render_data_report
from train.data.shortcuts import check_shortcuts
from train.data.sources import DEFAULT_COLUMNS, Columns, Input
from train.data.split import (
    FRACTIONS,
    SET_ASIDE,
    SPLITS,
    contamination,
    split_at_random,
    split_by_group,
    split_by_source,
    split_by_time,
)
from train.data.text import NORMALIZER_VERSION

FORMAT_VERSION = 1
_ROWS_AT_ONCE = 20_000
_UNCUT = 1 << 30
SplitMethod = Literal["group", "time", "source", "random"]

logger = logging.getLogger(__name__)


def prepare(
    inputs: Sequence[Input],
    output: Path,
    *,
    labels: LabelMap | None = None,
    columns: Columns = DEFAULT_COLUMNS,
    mask: bool = True,
    split: SplitMethod = "group",
    held_out: str | None = None,
    seed: int = 42,
    terms: Sequence[dict[str, Any]] = (),
    tokenizer: str | None = None,
    max_length: int = 128,
) -> Path:
    """Write the prepared folder and return its path.

    It holds ``train.parquet``, ``validation.parquet`` and ``test.parquet`` (columns text, label,
    group, source, time, copies), ``rejected.jsonl``, ``labels.json``, ``report.html`` and
    ``manifest.json``, whose
    counts add up: read = kept + merged + rejected. With ``split="source"`` the source ``held_out``
    is the test set, and rows of other sources whose campaign it shares are set aside into
    ``set_aside.jsonl``. ``terms`` of public sets go into the manifest as they are.
    With a ``tokenizer`` (folder or hub id) the report says what ``max_length`` would cut.

    Raises:
        UserError: if an input cannot be read at all, nothing usable is left, or a split stays
            empty.
    """
    with folder_written_whole(output) as folder:
        collected = collect(inputs, labels, columns, mask=mask, folder=folder)
        groups = _groups(collected.table)
        assigned = _assign(split, groups, collected, held_out, seed)
        _check_splits(assigned, collected)
        _write_splits(folder, collected, groups, assigned)
        collected.labels.save(folder / "labels.json")
        manifest = {
            "format_version": FORMAT_VERSION,
            "text": {"normalizer_version": NORMALIZER_VERSION, "mask_pii": mask},
            "inputs": [{"path": str(item.path), "source": item.source} for item in inputs],
            "terms": list(terms),
            "counts": _counts(collected, groups, assigned),
            "split": {
                "method": split,
                "held_out": held_out,
                "seed": seed,
                "fractions": FRACTIONS,
            },
            "contamination": _contamination(collected, assigned, split, seed),
            "sha256": {f"{name}.parquet": file_hash(folder / f"{name}.parquet") for name in SPLITS},
        }
        (folder / "kept.arrow").unlink()
        _write_report(folder, manifest, seed, tokenizer, max_length)
        (folder / "manifest.json").write_text(
            json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", "utf-8"
        )
    return output


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


def _groups(table: Dataset) -> NDArray[np.int64]:
    """Return near-duplicate groups, joined where the user's own column says they are one."""
    groups = campaign_groups(table["text"])
    named = [row if name is None else name for row, name in enumerate(table["campaign"])]
    _, campaign = np.unique(np.array(named, dtype=object).astype(str), return_inverse=True)
    if len(np.unique(campaign)) == len(table):
        return groups
    # Rows are edges between their near-duplicate group and their named one.
    edges = coo_array((np.ones(len(table)), (groups, campaign + len(table))), (2 * len(table),) * 2)
    component = connected_components(edges, directed=False)[1][groups]
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _assign(
    method: SplitMethod,
    groups: NDArray[np.int64],
    collected: Collected,
    held_out: str | None,
    seed: int,
) -> NDArray[np.int8]:
    """Return the split of each row, or SET_ASIDE."""
    if (method == "source") != (held_out is not None):
        raise UserError(
            "expected --held-out SOURCE with --split source and only there: name the source that "
            "becomes the test set"
        )
    if method == "time":
        return split_by_time(groups, collected.table["time"])
    if held_out is not None:
        sources = list(collected.table["source"])
        return split_by_source(sources, groups, collected.label_ids, held_out, seed=seed)
    if method == "random":
        logger.warning(
            "warning: a random split puts near-copies of one message on both sides; its scores "
            "measure memory (see contamination in manifest.json)"
        )
        return split_at_random(collected.label_ids, seed=seed)
    return split_by_group(groups, collected.label_ids, seed=seed)


def _check_splits(assigned: NDArray[np.int8], collected: Collected) -> None:
    names = collected.labels.names
    for index, split in enumerate(SPLITS):
        missing = sorted(set(collected.label_ids) - set(collected.label_ids[assigned == index]))
        if not (assigned == index).any():
            raise UserError(
                f"expected messages for every split, found none for {split} among "
                f"{len(assigned)} distinct messages: at least three groups a label are needed"
            )
        if missing:
            logger.warning(
                "warning: %s holds no message of %s",
                split,
                ", ".join(names[label] for label in missing),
            )
    if absent := set(range(len(names))) - set(collected.label_ids.tolist()):
        logger.warning("warning: no message of %s", ", ".join(names[label] for label in absent))


def _write_splits(
    folder: Path, collected: Collected, groups: NDArray[np.int64], assigned: NDArray[np.int8]
) -> None:
    table = collected.table.select_columns(["text", "label", "source", "time"])
    table = table.add_column("group", groups).add_column("copies", collected.copies)
    for index, split in enumerate(SPLITS):
        part = table.select(np.flatnonzero(assigned == index)).with_format("arrow")
        with pq.ParquetWriter(folder / f"{split}.parquet", table.features.arrow_schema) as writer:
            for batch in part.iter(_ROWS_AT_ONCE):
                writer.write_table(batch)
    aside = np.flatnonzero(assigned == SET_ASIDE)
    if len(aside):
        places = collected.table.select_columns(["file", "line"]).select(aside)
        with (folder / "set_aside.jsonl").open("w", encoding="utf-8") as stream:
            for place in places:
                stream.write(json.dumps(place, ensure_ascii=False) + "\n")


def _write_report(
    folder: Path, manifest: dict[str, Any], seed: int, tokenizer: str | None, max_length: int
) -> None:
    measure = None if tokenizer is None else _measure_tokens(tokenizer)
    splits = {name: load_split(folder, name) for name in SPLITS}
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


def _measure_tokens(name: str) -> tuple[Callable[[Sequence[str]], list[list[int]]], int | None]:
    """Return the tokenisation of ``name``, uncut, and the id of its unknown token."""
    # transformers takes seconds to load and most preparations do without.
    from train.data.tokenization import load_tokenizer, tokenize

    loaded = load_tokenizer(name)
    return lambda texts: tokenize(texts, loaded, _UNCUT), loaded.unk_token_id


def _counts(
    collected: Collected, groups: NDArray[np.int64], assigned: NDArray[np.int8]
) -> dict[str, Any]:
    per_split = {
        split: {
            name: int(((assigned == index) & (collected.label_ids == label)).sum())
            for label, name in enumerate(collected.labels.names)
        }
        for index, split in enumerate(SPLITS)
    }
    return {
        "read": collected.read,
        "kept": len(assigned),
        "merged": collected.merged,
        "rejected": dict(collected.rejected.most_common()),
        "set_aside": int((assigned == SET_ASIDE).sum()),
        "groups": len(np.unique(groups)),
        "splits": per_split,
    }


def _contamination(
    collected: Collected, assigned: NDArray[np.int8], method: SplitMethod, seed: int
) -> dict[str, dict[str, float]]:
    """Measure the chosen split and, to compare, a random one."""
    texts = np.array(collected.table["text"], dtype=object)
    splits = {method: assigned, "random": split_at_random(collected.label_ids, seed=seed)}
    train, test = SPLITS.index("train"), SPLITS.index("test")
    return {
        name: contamination(list(texts[split == test]), list(texts[split == train]))
        for name, split in splits.items()
    }
