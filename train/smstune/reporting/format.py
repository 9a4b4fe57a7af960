"""Numbers as a reader sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup


def interval_text(bounds: Sequence[float] | None) -> str:
    """Return an interval as a cell shows it."""
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def share_text(share: float | None) -> str:
    """Return a share as a percentage of a reader who counts mistakes in ten thousand."""
    return show(None) if share is None else f"{100 * share:.2f} %"


#: What ``spread`` returns.
SPREAD = ("mean", "median", "95 %", "99 %", "longest")


def spread(lengths: Counter[int]) -> list[object]:
    """Return mean, median, 95th and 99th percentile (nearest rank) and the longest."""
    if not lengths:
        return [None] * len(SPREAD)
    sizes = np.array(sorted(lengths))
    reached = np.cumsum([lengths[size] for size in sizes.tolist()])
    at = np.searchsorted(reached, np.ceil(np.array([0.5, 0.95, 0.99, 1.0]) * reached[-1]))
    mean = sum(size * count for size, count in lengths.items()) / lengths.total()
    return [f"{mean:.1f}", *sizes[at].tolist()]


def show(value: object) -> str:
    """Return ``value`` as a cell shows it."""
    if value is None:
        return "–"
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def percent(share: float) -> str:
    """Return a share as a whole percentage; what is not none or all does not look like it."""
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"
