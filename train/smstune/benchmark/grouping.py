"""Speed of near-duplicate grouping, and its recall against a comparison of all pairs."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from smstune.benchmark.processes import peak_rss_gib
from smstune.campaigns.grouping import campaign_groups
from smstune.campaigns.sketch import skeleton
from smstune.data.readers.catalogue import parse_input
from smstune.tables.options import TableOptions
from smstune.text.normalize import preprocess

_SIGNATURES = ("【云杉超市】", "【晴川银行】", "【小鹿出行】", "【百川教育】", "【南湖影城】")
_ROWS = 1000


@dataclass(frozen=True)
class GroupingSpeed:
    """Speed of grouping one number of messages.

    ``exponent`` is the slope of log time over log messages since the previous size (nan for the
    first); n log n has about 1.1 between 10,000 and 1,000,000. ``peak_rss_gib`` is the high-water
    mark of the whole process, the messages included.
    """

    messages: int
    seconds: float
    groups: int
    messages_per_second: float
    peak_rss_gib: float
    exponent: float


@dataclass(frozen=True)
class GroupingRecall:
    """Grouping compared with the similarity of every pair.

    ``pairs`` counts the pairs that reach the threshold, ``recall`` is the share of them within one
    group, ``false_merges`` counts the groups that the pairs do not connect.
    """

    pairs: int
    recall: float
    false_merges: int


def read_texts(inputs: Sequence[str]) -> list[str]:
    """Return the distinct clean messages of ``[SOURCE:]PATH`` inputs, in order."""
    rows = (
        row.text
        for input_ in map(parse_input, inputs)
        for row in input_.reader(input_.path, TableOptions())
        if row.text
    )
    return list(dict.fromkeys(preprocess(text, mask=True) for text in rows))


def benchmark_grouping(
    seed_texts: Sequence[str], sizes: Sequence[int], *, seed: int = 0
) -> list[GroupingSpeed]:
    """Time ``campaign_groups`` on messages mutated from ``seed_texts``, a row for each size.

    The copies of a seed text follow a power law, so the largest campaign grows with the number of
    messages, as it does in real traffic (Zhang et al., "Lies in the Air", CCS 2020). Sizes must
    increase, because the peak memory of the process never falls.
    """
    if not seed_texts:
        raise ValueError("expected at least one seed text, found none: pass real messages to vary")
    rows: list[GroupingSpeed] = []
    for size in sizes:
        texts = mutated(seed_texts, size, random.Random(seed))
        start = time.perf_counter()
        groups = campaign_groups(texts, seed=seed)
        seconds = time.perf_counter() - start
        exponent = math.nan
        if rows and rows[-1].messages != size:
            before = rows[-1]
            exponent = math.log(seconds / before.seconds) / math.log(size / before.messages)
        rows.append(
            GroupingSpeed(
                messages=size,
                seconds=seconds,
                groups=len(np.unique(groups)),
                messages_per_second=size / seconds,
                peak_rss_gib=peak_rss_gib(),
                exponent=exponent,
            )
        )
    return rows


def recall_against_brute_force(texts: Sequence[str], threshold: float) -> GroupingRecall:
    """Compare ``campaign_groups`` with the Jaccard similarity of every pair of texts.

    Texts with the same skeleton count once, because grouping them is trivial. Takes quadratic time:
    for a few thousand texts.
    """
    distinct = sorted({skeleton(text) for text in texts} - {""})
    groups = campaign_groups(distinct, threshold=threshold)
    left, right = _all_pairs(distinct, threshold)
    together = groups[left] == groups[right]
    graph = csr_array(
        (np.ones(len(left), dtype=np.bool_), (left, right)), shape=(len(distinct), len(distinct))
    )
    _, component = connected_components(graph, directed=False)
    # A group within one component of the pairs has no false merge.
    joint = len({*zip(groups.tolist(), component.tolist(), strict=True)})
    return GroupingRecall(
        pairs=len(left),
        recall=float(together.mean()) if len(left) else 1.0,
        false_merges=joint - len(np.unique(groups)),
    )


def _all_pairs(distinct: list[str], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all pairs with Jaccard >= threshold, from unhashed grams."""
    column: dict[str, int] = {}
    sets = [
        {column.setdefault(text[i : i + 3], len(column)) for i in range(max(1, len(text) - 2))}
        for text in distinct
    ]
    sizes = np.array([len(grams) for grams in sets], dtype=np.int64)
    columns = [gram for grams in sets for gram in grams]
    matrix = csr_array(
        (np.ones(len(columns), dtype=np.int32), columns, np.append(0, np.cumsum(sizes))),
        shape=(len(distinct), max(1, len(column))),
    )
    lefts, rights = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(distinct), _ROWS):
        shared = (matrix[start : start + _ROWS] @ matrix.T).tocoo()
        left, right = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        near = shared.data / (sizes[left] + sizes[right] - shared.data) >= threshold
        near &= left < right
        lefts.append(left[near])
        rights.append(right[near])
    return np.concatenate(lefts), np.concatenate(rights)


def mutated(seed_texts: Sequence[str], size: int, rng: random.Random) -> list[str]:
    """Return so many variants of the seed texts; the first ones have the most."""
    letters = sorted(set("".join(skeleton(text) for text in seed_texts[:1000]))) or ["字"]
    mutated = []
    for _ in range(size):
        # The cube gives the first texts the most copies.
        text = seed_texts[int(len(seed_texts) * rng.random() ** 3)]
        kind = rng.random()
        if kind >= 0.15:  # the others are exact copies
            text = "".join(rng.choice("0123456789") if c.isdigit() else c for c in text)
        if 0.3 <= kind < 0.5:
            text = rng.choice(_SIGNATURES) + (text.partition("】")[2] or text)
        if kind >= 0.4:
            text = _edited(text, letters, rng)
        mutated.append(text)
    return mutated


def _edited(text: str, letters: list[str], rng: random.Random) -> str:
    """Return a text with up to a tenth of its characters inserted, replaced or deleted."""
    edited = list(text)
    for _ in range(rng.randint(1, 1 + len(text) // 10)):
        index = rng.randrange(len(edited) + 1)
        kind = rng.randrange(3)
        edited[index : index + (kind > 0)] = [] if kind == 1 else [rng.choice(letters)]
    return "".join(edited)
