"""How long messages are: averages, percentiles and a histogram."""

from __future__ import annotations

from collections import Counter

import numpy as np

from smstune.language import Message
from smstune.reporting.charts import BarChart
from smstune.reporting.document import Figure, Table
from smstune.reporting.format import percent

#: Head of the columns that ``length_summary`` fills.
SUMMARY_HEAD = (Message("mean"), Message("median"), "P95", "P99", Message("longest"))
_BIN_WIDTH = 20
_BINS = 12


def length_summary(lengths: Counter[int]) -> list[object]:
    """Return mean, median, 95th and 99th percentile (nearest rank) and the longest."""
    if not lengths:
        return [None] * len(SUMMARY_HEAD)
    sizes = np.array(sorted(lengths))
    cumulative = np.cumsum([lengths[size] for size in sizes.tolist()])
    ranks = np.ceil(np.array([0.5, 0.95, 0.99, 1.0]) * cumulative[-1])
    mean = sum(size * count for size, count in lengths.items()) / lengths.total()
    return [f"{mean:.1f}", *sizes[np.searchsorted(cumulative, ranks)].tolist()]


def histogram(lengths: Counter[int], unit: str) -> list[Figure | Table]:
    """Return a histogram of message lengths as bars and a table; the last bin is open-ended."""
    counts = Counter[int]()
    for length, count in lengths.items():
        counts[min(max(length - 1, 0) // _BIN_WIDTH, _BINS)] += count
    bins = range(max(counts, default=0) + 1)
    names = [_bin_name(number) for number in bins]
    total = max(counts.total(), 1)
    rows = [
        [name, counts[number], percent(counts[number] / total)]
        for number, name in zip(bins, names, strict=True)
    ]
    messages = Message("number of messages")
    chart = BarChart(names, {messages: [counts[number] for number in bins]}, messages)
    return [
        Figure([chart], Message("Messages by length in {unit} as bars", unit=unit)),
        Table([unit, messages, Message("share")], rows),
    ]


def _bin_name(number: int) -> str:
    if number == _BINS:
        return Message("more than {length}", length=_BINS * _BIN_WIDTH)
    return Message(
        "{shortest} to {longest}",
        shortest=number * _BIN_WIDTH + 1,
        longest=(number + 1) * _BIN_WIDTH,
    )
