"""The population stability index: how far a feature of messages has shifted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smstune.arrays import Floats, Ints
from smstune.errors import GateError
from smstune.evaluation.drift.results import Stability, StabilityBin
from smstune.language import Message, joined

#: The rules of thumb of credit scoring (Siddiqi, "Credit Risk Scorecards", 2006).
SOME_SHIFT, SHIFT = 0.1, 0.25
#: The feature whose bins are labels.
ANSWER = Message("answered label")
_BINS = 10
_LEVEL = 0.05
_SIMULATIONS = 10_000
_SEED = 0


def stability_rows(
    features: Sequence[Mapping[str, NDArray[Any]]],
    campaigns: tuple[int, int],
    labels: Sequence[str],
) -> list[Stability]:
    """Return the stability of each feature that varies, the largest index first.

    ``features`` are those of the reference and of the new messages, by name; the ids of answered
    ``labels`` are a bin each, anything else is put into deciles of the reference.
    """
    of_reference, of_new = features
    pairs = {
        name: (of_reference[name].astype(np.float64), of_new[name].astype(np.float64))
        for name in of_reference
    }
    varying = {name: pair for name, pair in pairs.items() if np.ptp(np.concatenate(pair)) > 0}
    rows = []
    for name, (reference, new) in varying.items():
        is_answer = name == ANSWER
        edges = np.arange(len(labels) - 1) if is_answer else _edges(reference)
        tops = list(labels) if is_answer else [*edges.tolist(), None]
        counts = [
            np.bincount(np.searchsorted(edges, values), minlength=len(tops))
            for values in (reference, new)
        ]
        bins = [
            StabilityBin(up_to=top, reference=int(n_reference), new=int(n_new))
            for top, n_reference, n_new in zip(tops, *counts, strict=True)
            if n_reference or n_new
        ]
        table = np.array([[row.reference, row.new] for row in bins])
        psi = float(stability(*table.T))
        # Several features are looked at together: Bonferroni.
        chance = chance_level(table, campaigns, _LEVEL / len(varying))
        rows.append(
            Stability(feature=name, psi=psi, chance=chance, reading=verdict(psi, chance), bins=bins)
        )
    return sorted(rows, key=lambda row: -row.psi)


def require_stability(rows: Sequence[Stability], max_index: float | None) -> None:
    """Fail where a feature has an index above ``max_index``; ``None`` accepts any.

    An index within its chance level is no drift, however large: few messages have a large one.

    Raises:
        GateError: naming each such feature and its index.
    """
    if max_index is None:
        return
    drifted = [row for row in rows if row.psi > max_index and row.psi > row.chance]
    if drifted:
        indices = [
            Message("{feature} {index:.4g}", feature=Message(row.feature), index=row.psi)
            for row in drifted
        ]
        raise GateError(
            "the messages drifted: expected a population stability index of at most {max_index:g} "
            "(evaluation.max_drift), found {indices}: read drift.html, and label some of the new "
            "messages to see whether the model still scores well",
            max_index=max_index,
            indices=joined(indices, ", "),
        )


def stability(reference: ArrayLike, new: ArrayLike) -> Floats:
    """Return the population stability index of counts in the same bins, along the last axis.

    The sum over bins of (q - p) ln(q / p) for shares p and q (Siddiqi, "Credit Risk Scorecards",
    2006; Jeffreys' divergence). An empty bin counts as half a message.
    """
    p, q = (
        np.maximum(counts, 0.5) / np.sum(counts, axis=-1, keepdims=True)
        for counts in (reference, new)
    )
    index: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    return index


def chance_level(table: Ints, sizes: tuple[int, int], level: float = _LEVEL) -> float:
    """Return the index that two samples of one population exceed with a chance of ``level``.

    ``table`` has the messages of both sides, shape (bins, 2). By 10,000 simulated pairs of samples
    from the bins of both sides together, of ``sizes`` messages: as many as there are campaigns,
    since the messages of a campaign fall into one bin. They are scaled to the messages of each
    side, so that an empty bin counts as much as in the index of ``table``. The chi-squared that the
    index has in large samples (Yurdakul and Naranjo, "Statistical properties of the population
    stability index", 2020) is exceeded too often where bins hold a few messages: by 8.6 % of
    samples instead of 5 % for 40 messages in ten bins.
    """
    rng, shares = np.random.default_rng(_SEED), table.sum(axis=1) / table.sum()
    samples = [
        rng.multinomial(size, shares, size=_SIMULATIONS) * (messages / size)
        for size, messages in zip(sizes, table.sum(axis=0).tolist(), strict=True)
    ]
    return float(np.quantile(stability(*samples), 1 - level, method="higher"))


def verdict(psi: float, chance: float) -> Message:
    """Return the verdict: no shift within the chance level, otherwise by the rules of thumb."""
    if psi <= chance:
        return Message("no shift shown")
    if psi < SOME_SHIFT:
        return Message("stable")
    return Message("some shift") if psi <= SHIFT else Message("shift")


def _edges(values: Floats) -> Floats:
    """Return the deciles of the reference as bins' upper ends; a constant has a bin to itself."""
    edges = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS, method="lower"))
    return edges if len(edges) > 1 else np.array([np.nextafter(edges[0], -np.inf), edges[0]])
