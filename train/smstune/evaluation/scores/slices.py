"""Scores of parts of a set, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from smstune.arrays import Flags, Ints
from smstune.evaluation.evaluated import EvaluatedSet, LabelledSet
from smstune.evaluation.scores.bootstrap import drawn_groups, exact_interval, interval
from smstune.evaluation.scores.detectors import detect
from smstune.evaluation.scores.metrics import headline
from smstune.evaluation.scores.results import Bounds, SliceScores
from smstune.inference.labels import LabelMap
from smstune.language import Message

#: Cosine similarity of character 2- and 3-grams from which two messages are the same notice.
TWINS = 0.5
#: Messages, then pairs of messages, that are compared at once.
_ROWS_AT_ONCE = 10_000


def slice_scores(
    evaluated: EvaluatedSet, labels: LabelMap, *, draws: int = 1000, twins: bool = True
) -> list[SliceScores]:
    """Return the scores of each slice of a set that has messages, the worst first.

    Slices are the values of the set's columns and the parents of labels, where there are several;
    what ``detect`` finds; quartiles of the length; and, with ``twins``, hard twins.
    """
    members_by_slice = {
        name: members
        for name, members in _slices(evaluated, labels, twins=twins).items()
        if members.any()
    }
    bounds = _accuracy_intervals(evaluated.right, members_by_slice, evaluated.groups, draws)
    parent = np.array(labels.parent_ids()) if labels.parent_names else None
    rows = []
    for (name, members), ci in zip(members_by_slice.items(), bounds, strict=True):
        truth, answers = evaluated.truth[members], evaluated.answers[members]
        scores = headline(truth, answers)
        optional: dict[str, float] = {}
        if parent is not None:
            optional["coarse_accuracy"] = float((parent[truth] == parent[answers]).mean())
        rows.append(
            SliceScores(
                slice=name,
                n=len(truth),
                campaigns=len(np.unique(evaluated.groups[members])),
                accuracy=scores["accuracy"],
                ci=ci,
                macro_f1=scores["macro_f1"],
                **optional,
            )
        )
    return sorted(rows, key=lambda row: (row.accuracy, row.slice))


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
        later_rows = np.flatnonzero(kinds > kind)
        rare_of_later = rare[later_rows].T.tocsr()
        for rows in _chunks(np.flatnonzero(kinds == kind)):
            left, right = (rare[rows] @ rare_of_later).nonzero()
            left, right = rows[left], later_rows[right]
            for pairs in _chunks(np.arange(len(left))):
                cosines = grams[left[pairs]].multiply(grams[right[pairs]]).sum(axis=1)
                near = pairs[np.asarray(cosines).ravel() >= TWINS]
                twin[left[near]] = twin[right[near]] = True
    return twin


def _rare_grams(grams: csr_array) -> csr_array:
    """Return each row's prefix of rarest grams: two twins always share at least one of them.

    Rows have unit length. The remaining, more common grams of a row are shorter than ``TWINS``
    together, so two rows that share none of the rarest of both are no twins (Bayardo, Ma, Srikant,
    "Scaling up all pairs similarity search", WWW 2007). This rules out almost all pairs, at a cost
    that grows little faster than the number of messages.
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


def _chunks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _slices(labelled: LabelledSet, labels: LabelMap, *, twins: bool) -> dict[str, Flags]:
    """Return by a slice's name which messages are in it."""
    members_by_slice: dict[str, Flags] = {}
    kinds = labelled.truth
    if labels.parent_names:
        kinds = np.array(labels.parent_ids())[labelled.truth]
        names = np.array(labels.parent_names, dtype=object)[kinds]
        members_by_slice |= _by_value("parent", names)
    for column, values in labelled.columns.items():
        members_by_slice |= _by_value(column, np.array(values, dtype=object))
    members_by_slice |= detect(labelled.texts, labelled.raw)
    lengths = np.array([len(text) for text in labelled.texts])
    quarter = np.searchsorted(np.quantile(lengths, [0.25, 0.5, 0.75]), lengths)
    for number in range(4):
        members = quarter == number
        if members.any():
            shortest, longest = lengths[members].min(), lengths[members].max()
            members_by_slice[f"{shortest} to {longest} characters"] = members
    if twins:
        members_by_slice[Message("hard twins")] = hard_twins(labelled.texts, kinds)
    return members_by_slice


def _by_value(column: str, values: NDArray[np.object_]) -> dict[str, Flags]:
    distinct = sorted(set(values.tolist()))
    if len(distinct) < 2:
        return {}
    return {f"{column}={value}": values == value for value in distinct}


def _accuracy_intervals(
    right: Flags, members_by_slice: Mapping[str, Flags], groups: Ints, draws: int
) -> list[Bounds | None]:
    if not draws or not members_by_slice:
        return [None] * len(members_by_slice)
    _, group = np.unique(groups, return_inverse=True)
    inside = np.column_stack(list(members_by_slice.values())).astype(np.float64)
    n_slices = len(members_by_slice)
    sums = np.zeros((int(group.max()) + 1, 2 * n_slices))
    np.add.at(sums, group, np.column_stack([inside * right[:, None], inside]))
    drawn = np.concatenate([times @ sums for times in drawn_groups(groups, draws, 0)])
    hits, counts = drawn[:, :n_slices], drawn[:, n_slices:]
    accuracy = np.divide(hits, counts, out=np.full(hits.shape, np.nan), where=counts > 0)
    return [
        interval(drawn_accuracy)
        or exact_interval(float(right[members].mean()), len(np.unique(groups[members])))
        for drawn_accuracy, members in zip(accuracy.T, members_by_slice.values(), strict=True)
    ]
