"""Speed of the look-up in a run's memory, and how much of a label a few reports find."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from smstune.arrays import Flags, Ints
from smstune.benchmark.grouping import mutated
from smstune.benchmark.processes import peak_rss_gib
from smstune.campaigns.sketch import sketch_texts
from smstune.data.prepared import load_split
from smstune.data.splits.methods import SPLITS
from smstune.files import temporary_folder
from smstune.inference.memory.entries import Entry
from smstune.inference.memory.folder import MEMORY
from smstune.inference.memory.index import empty_index, only_texts
from smstune.inference.memory.lookup import Memory
from smstune.inference.memory.store import (
    empty_generation,
    open_generation,
    write_generation,
    writer_lock,
)
from smstune.tables.times import CHINA

_QUERIES = 10_000
#: As many as predict looks up at once.
_BULK = 4096
_SINGLE = 200
_CAMPAIGN_SIZE = 10
#: Reported campaigns, and how often they are drawn.
_TAUGHT, _DRAWS = (1, 5, 20), 20
#: Campaigns that a label needs, so that half of them stay unreported.
_LEAST_CAMPAIGNS = 40


@dataclass(frozen=True)
class LookupSpeed:
    """The look-up among ``known`` messages; milliseconds are of wall-clock time a message.

    ``bulk_ms`` is measured on 4,096 messages at once, ``single_ms`` on one at a time;
    ``recognised`` is the share of the messages that have a campaign.
    """

    known: int
    on_disk_mib: float
    write_seconds: float
    open_seconds: float
    bulk_ms: float
    single_ms: float
    recognised: float
    peak_rss_gib: float


@dataclass(frozen=True)
class ReportedLabel:
    """What one report of each of ``taught`` campaigns of a label finds; means of 20 draws.

    ``same_campaigns`` is the share of the other messages of these campaigns, ``rest`` that of the
    label's other campaigns, ``false_alarms`` that of the messages of other labels; ``None`` where
    there is no such message.
    """

    label: str
    similarity: float
    taught: int
    same_campaigns: float | None
    rest: float | None
    false_alarms: float | None


def read_prepared(folder: Path) -> tuple[list[str], Ints, Ints, list[str]]:
    """Return texts, label ids and campaigns of a prepared folder, and the names of the labels."""
    splits = [load_split(folder, split) for split in SPLITS]
    texts = [text for split in splits for text in split["text"]]
    names, label_ids = np.unique(
        [label for split in splits for label in split["label"]], return_inverse=True
    )
    campaigns = np.concatenate([np.array(split["group"]) for split in splits])
    return texts, label_ids, campaigns, names.tolist()


def benchmark_lookup(seed_texts: Sequence[str], n_known: int) -> LookupSpeed:
    """Time the look-up among so many messages, mutated from ``seed_texts`` as queries are."""
    known = mutated(seed_texts, n_known, random.Random(0))
    queries = mutated(seed_texts, _QUERIES, random.Random(1))
    with temporary_folder() as run:
        write_seconds = _write(run, known)
        size = sum(path.stat().st_size for path in (run / MEMORY).iterdir())
        start = time.perf_counter()
        generation = open_generation(run)
        open_seconds = time.perf_counter() - start
        if generation is None:
            raise RuntimeError("the memory that was written is gone")
        memory = Memory(generation)
        memory.look_up(queries[:_SINGLE])
        start = time.perf_counter()
        batches = [queries[first : first + _BULK] for first in range(0, _QUERIES, _BULK)]
        answers = [campaign for batch in batches for campaign in memory.look_up(batch)]
        bulk_seconds = time.perf_counter() - start
        start = time.perf_counter()
        for query in queries[:_SINGLE]:
            memory.look_up([query])
        single_seconds = time.perf_counter() - start
    return LookupSpeed(
        known=n_known,
        on_disk_mib=size / 2**20,
        write_seconds=write_seconds,
        open_seconds=open_seconds,
        bulk_ms=1000 * bulk_seconds / _QUERIES,
        single_ms=1000 * single_seconds / _SINGLE,
        recognised=sum(campaign is not None for campaign in answers) / _QUERIES,
        peak_rss_gib=peak_rss_gib(),
    )


def _write(run: Path, known: Sequence[str]) -> float:
    """Write a memory of these messages, ten to an entry; return the seconds without sketching."""
    similarity = 0.7
    sketches = sketch_texts(known, threshold=similarity)
    now = datetime.now(CHINA).isoformat(timespec="seconds")
    numbers = np.arange(len(known), dtype=np.int32) // _CAMPAIGN_SIZE
    entries = {
        number: Entry(
            id=number + 1,
            label="reported",
            action="block",
            reason=None,
            until=None,
            reporter=None,
            first=now,
            last=now,
            messages=_CAMPAIGN_SIZE,
            false_alarms=None,
        )
        for number in range(int(numbers[-1]) + 1)
    }
    start = time.perf_counter()
    generation = empty_generation(similarity, len(sketches.keys))
    index = generation.index.with_messages(sketches)
    with writer_lock(run):
        write_generation(run, generation.with_entries(entries, index, numbers))
    return time.perf_counter() - start


def recall_of_reports(folder: Path, similarity: float) -> list[ReportedLabel]:
    """Return what reports of a prepared folder's messages find, for each label with 40 campaigns.

    The campaigns are drawn with probabilities as their numbers of messages, and of each one
    message is reported, as the first that somebody notices.
    """
    texts, label_ids, campaigns, names = read_prepared(folder)
    sketches = sketch_texts(texts, threshold=similarity)
    rows = []
    for label_id, name in enumerate(names):
        members = np.flatnonzero(label_ids == label_id)
        if len(np.unique(campaigns[members])) < _LEAST_CAMPAIGNS:
            continue
        for n_taught in _TAUGHT:
            rng = np.random.default_rng(0)
            shares = []
            for _ in range(_DRAWS):
                reported = _reported(rng.permutation(members), campaigns, n_taught)
                is_reported = np.isin(np.arange(len(texts)), reported)
                index = empty_index(len(sketches.keys)).with_messages(
                    only_texts(sketches, is_reported)
                )
                matched = np.zeros(len(texts), dtype=np.bool_)
                matched[index.pairs(sketches, similarity).messages] = True
                in_campaigns = np.isin(campaigns, campaigns[reported])
                is_label = label_ids == label_id
                sets = (is_label & in_campaigns & ~is_reported, is_label & ~in_campaigns, ~is_label)
                shares.append([_share(matched[rows_of_set]) for rows_of_set in sets])
            same, rest, false_alarms = map(_mean, zip(*shares, strict=True))
            rows.append(ReportedLabel(name, similarity, n_taught, same, rest, false_alarms))
    return rows


def _share(matched: Flags) -> float | None:
    """Return the share of flags that are set, ``None`` where there is no flag."""
    return float(matched.mean()) if len(matched) else None


def _mean(shares: Iterable[float | None]) -> float | None:
    """Return the mean of the draws that have a share, ``None`` if none has."""
    measured = [share for share in shares if share is not None]
    return float(np.mean(measured)) if measured else None


def _reported(shuffled: Ints, campaigns: Ints, n_taught: int) -> Ints:
    """Return the first message of each of the first campaigns that ``shuffled`` comes to."""
    _, firsts = np.unique(campaigns[shuffled], return_index=True)
    return shuffled[np.sort(firsts)[:n_taught]]
