"""Scores of parts of a set, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from smstune.arrays import Flags, Ints
from smstune.evaluation.labelled import Judged, Labelled
from smstune.evaluation.scores.bootstrap import drawn_groups, exact_interval, interval
from smstune.evaluation.scores.detectors import detect
from smstune.evaluation.scores.metrics import headline
from smstune.inference.labels import LabelMap

#: Cosine similarity of character 2- and 3-grams from which two messages are the same notice.
TWINS = 0.5
#: Messages, then pairs of messages, that are compared at once.
_ROWS_AT_ONCE = 10_000


def slice_scores(
    labelled: Labelled,
    judged: Judged,
    labels: LabelMap,
    *,
    draws: int = 1000,
    twins: bool = True,
) -> list[dict[str, Any]]:
    """Return ``slice, n, campaigns, accuracy, macro_f1, ci`` of each part, the worst first.

    Parts are the values of the set's columns and the parents of labels, where there are several;
    what ``detect`` finds; quartiles of the length; and, with ``twins``, hard twins.
    ``coarse_accuracy`` is there where labels have parents; ``ci`` is the 95 % interval of the
    accuracy over campaigns.
    """
    every_part = _parts(labelled, labels, twins=twins)
    parts = {name: part for name, part in every_part.items() if part.any()}
    right = judged.predicted == judged.truth
    bounds = _accuracy_intervals(right, parts, judged.groups, draws)
    parent = np.array(labels.parent_ids()) if labels.parent_names else None
    rows = []
    for (name, part), ci in zip(parts.items(), bounds, strict=True):
        scores = headline(judged.truth[part], judged.predicted[part])
        row = {
            "slice": name,
            "n": int(part.sum()),
            "campaigns": len(np.unique(judged.groups[part])),
            "accuracy": scores["accuracy"],
            "ci": ci,
            "macro_f1": scores["macro_f1"],
        }
        if parent is not None:
            same = parent[judged.truth[part]] == parent[judged.predicted[part]]
            row["coarse_accuracy"] = float(same.mean())
        rows.append(row)
    return sorted(rows, key=lambda row: (float(row["accuracy"]), str(row["slice"])))


def hard_twins(texts: list[str], kinds: Ints) -> Flags:
    """Return which messages have a near copy of another kind: a notice and its forgery.

    Two messages are twins when the cosine of their TF-IDF over character 2- and 3-grams is at least
    ``TWINS``; ``kinds`` are parents of labels, or the labels where there are none.
    """
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(2, 3), sublinear_tf=True)
    twin = np.zeros(len(texts), dtype=bool)
    try:
        grams = vectorizer.fit_transform(texts)
    except ValueError:
        # Not one message of two characters.
        return twin
    rare = _rare_grams(grams)
    for kind in np.unique(kinds)[:-1]:
        others = np.flatnonzero(kinds > kind)
        rare_of_others = rare[others].T.tocsr()
        for rows in _slices_of(np.flatnonzero(kinds == kind)):
            left, right = (rare[rows] @ rare_of_others).nonzero()
            left, right = rows[left], others[right]
            for pairs in _slices_of(np.arange(len(left))):
                cosines = grams[left[pairs]].multiply(grams[right[pairs]]).sum(axis=1)
                near = pairs[np.asarray(cosines).ravel() >= TWINS]
                twin[left[near]] = twin[right[near]] = True
    return twin


def _rare_grams(grams: csr_array) -> csr_array:
    """Return for each row of unit length the rarest grams that a twin shares one of.

    The remaining, more common ones are shorter than ``TWINS`` together, so two rows that share none
    of the rarest of both are no twins (Bayardo, Ma, Srikant, "Scaling up all pairs similarity
    search", WWW 2007). Almost all pairs are ruled out so, at a cost that grows little faster than
    the number of messages.
    """
    frequency = np.bincount(grams.indices, minlength=grams.shape[1])
    by_rarity = grams[:, np.argsort(frequency, kind="stable")]
    by_rarity.sort_indices()
    squares = by_rarity.data**2
    before = np.concatenate([[0.0], np.cumsum(squares)])
    row_starts = np.repeat(before[by_rarity.indptr[:-1]], np.diff(by_rarity.indptr))
    remaining = 1 - (before[:-1] - row_starts)
    # Rounding must not lose a pair whose similarity is the threshold itself.
    by_rarity.data = (remaining >= TWINS**2 - 1e-9).astype(np.float32)
    by_rarity.eliminate_zeros()
    return by_rarity


def _slices_of(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _parts(labelled: Labelled, labels: LabelMap, *, twins: bool) -> dict[str, Flags]:
    parts: dict[str, Flags] = {}
    kinds = labelled.truth
    if labels.parent_names:
        kinds = np.array(labels.parent_ids())[labelled.truth]
        names = np.array(labels.parent_names, dtype=object)[kinds]
        parts |= _values("parent", names)
    for column, values in labelled.columns.items():
        parts |= _values(column, np.array(values, dtype=object))
    parts |= detect(labelled.texts, labelled.raw)
    lengths = np.array([len(text) for text in labelled.texts])
    edges = np.quantile(lengths, [0.25, 0.5, 0.75])
    quarter = np.searchsorted(edges, lengths)
    for at in range(4):
        part = quarter == at
        if part.any():
            parts[f"{lengths[part].min()} to {lengths[part].max()} characters"] = part
    if twins:
        parts["hard twins"] = hard_twins(labelled.texts, kinds)
    return parts


def _values(column: str, values: NDArray[np.object_]) -> dict[str, Flags]:
    distinct = sorted(set(values.tolist()))
    if len(distinct) < 2:
        return {}
    return {f"{column}={value}": values == value for value in distinct}


def _accuracy_intervals(
    right: Flags, parts: Mapping[str, Flags], groups: Ints, draws: int
) -> list[list[float] | None]:
    if not draws or not parts:
        return [None] * len(parts)
    _, group = np.unique(groups, return_inverse=True)
    inside = np.column_stack(list(parts.values())).astype(np.float64)
    sums = np.zeros((int(group.max()) + 1, 2 * len(parts)))
    np.add.at(sums, group, np.column_stack([inside * right[:, None], inside]))
    drawn = np.concatenate([times @ sums for times in drawn_groups(groups, draws, 0)])
    hits, counts = drawn[:, : len(parts)], drawn[:, len(parts) :]
    accuracy = np.divide(hits, counts, out=np.full(hits.shape, np.nan), where=counts > 0)
    return [
        interval(accuracy[:, at])
        or exact_interval(float(right[part].mean()), len(np.unique(groups[part])))
        for at, part in enumerate(parts.values())
    ]
