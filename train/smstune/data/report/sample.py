"""A sample of a prepared folder, drawn by label and source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smstune.arrays import Floats, Ints
from smstune.data.collect import encode
from smstune.data.report.statistics import Splits, batches, take_rows

STRATUM_ROWS = 200


@dataclass(frozen=True)
class Sample:
    """Rows drawn from all splits; each represents ``weight`` rows of its label and source."""

    texts: list[str]
    labels: Ints
    sources: Ints
    groups: Ints
    weights: Floats
    label_names: list[str]
    source_names: list[str]
    total: int
    label_sources: dict[str, dict[str, int]]


def draw_sample(splits: Splits, rows: int, seed: int) -> Sample:
    """Draw rows at random: in proportion to each label and source, but at least some of each."""
    label_codes: dict[str, int] = {}
    source_codes: dict[str, int] = {}
    pairs = [np.zeros((2, 0), dtype=np.int32)]
    for batch in batches(splits, ["label", "source"]):
        codes = [encode(batch["label"], label_codes), encode(batch["source"], source_codes)]
        pairs.append(np.stack(codes).astype(np.int32))
    label, source = np.concatenate(pairs, axis=1)
    kinds, stratum, counts = np.unique(
        label * max(len(source_codes), 1) + source, return_inverse=True, return_counts=True
    )
    share = min(1.0, rows / max(len(label), 1))
    quota = np.minimum(counts, np.maximum(np.ceil(share * counts), STRATUM_ROWS)).astype(int)
    rng = np.random.default_rng(seed)
    order = np.argsort(stratum, kind="stable")
    strata = np.split(order, np.cumsum(counts)[:-1])
    drawn = [rng.permutation(rows_)[:size] for rows_, size in zip(strata, quota, strict=True)]
    chosen = np.sort(np.concatenate(drawn))
    table = take_rows(splits, chosen, ["text", "group"])
    label_names, source_names = list(label_codes), list(source_codes)
    label_sources: dict[str, dict[str, int]] = {name: {} for name in label_names}
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        name, origin = divmod(kind, len(source_names))
        label_sources[label_names[name]][source_names[origin]] = count
    return Sample(
        texts=table["text"].to_pylist(),
        labels=label[chosen].astype(np.int64),
        sources=source[chosen].astype(np.int64),
        groups=table["group"].to_numpy(),
        weights=(counts / quota)[stratum[chosen]],
        label_names=label_names,
        source_names=source_names,
        total=len(label),
        label_sources=label_sources,
    )
