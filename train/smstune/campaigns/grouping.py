"""Near-duplicate messages: which texts are variants of one campaign.

A sender of bulk SMS reuses one wording and changes the numbers, the link, a few characters. A
random split then puts copies into train and test, and the test score measures memory. Two messages
are near-duplicates when the Jaccard similarity of their sets of 3-grams reaches a threshold.

Candidates come from MinHash (Broder, "On the resemblance and containment of documents", 1997) with
banded locality-sensitive hashing (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3). Each candidate pair is verified by its sets of 3-grams, and the number of candidates of
a message is bounded. Bands are read one at a time, sets of 3-grams in batches, to save memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from smstune.arrays import Flags, Ints, Keys, Rows, Words
from smstune.campaigns.sketch import Sketches, sketch
from smstune.files import temporary_folder

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Labels = TypeVar("Labels", Ints, Rows)

# Members of a bucket that one message is compared with. A query is compared with more: it has one
# chance in each band, while a message of a campaign is also reached through other messages.
_WINDOW = 32
_QUERY_WINDOW = 128
_BATCH_GRAMS = 1 << 20


def campaign_groups(texts: Iterable[str], *, threshold: float = 0.7, seed: int = 0) -> Ints:
    """Return the group of each text: the index of the first text of its campaign.

    Two texts are in one group if a chain of pairs connects them, each pair verified to have a
    Jaccard similarity of at least `threshold` over the 3-grams of their `skeleton`. Texts without
    any letter are grouped by exact equality. The groups depend on the set of texts alone, not on
    their order.
    """
    with temporary_folder() as folder:
        return group(sketch(texts, folder, threshold=threshold, seed=seed), threshold)


def near_matches(
    queries: Sequence[str], references: Sequence[str], *, threshold: float = 0.7, seed: int = 0
) -> Ints:
    """Return for each query the index of a near-duplicate reference, or -1 (see `match`)."""
    rows = np.arange(len(queries) + len(references))
    with temporary_folder() as folder:
        both = chain(queries, references)
        sketches = sketch(both, folder, threshold=threshold, seed=seed)
        return match(sketches, rows[: len(queries)], rows[len(queries) :], threshold)


def group(sketches: Sketches, threshold: float = 0.7) -> Ints:
    """Return the groups of `campaign_groups`, from sketches."""
    # Sorted by digest, so that nothing below depends on the order of the texts.
    _, index, inverse = np.unique(sketches.digests, return_index=True, return_inverse=True)
    first, inverse = index.astype(np.int32), inverse.astype(np.int32)
    del index
    labels = np.arange(len(first), dtype=np.int32)
    lettered = np.flatnonzero(sketches.lettered[first]).astype(np.int32)
    labels[lettered] = lettered[_link(sketches, first[lettered], threshold)]
    earliest = np.full(len(first), len(inverse), dtype=np.int32)
    np.minimum.at(earliest, labels, first)
    return earliest[labels][inverse].astype(np.int64)


def match(sketches: Sketches, queries: Ints, references: Ints, threshold: float = 0.7) -> Ints:
    """Return for each query the index of one near-duplicate among the references, or -1.

    Both are rows of the sketches. An equal skeleton is preferred; otherwise any reference whose
    verified similarity reaches `threshold`, found as in `group`. This counts the test messages that
    have a copy in train (Lee et al., "Deduplicating Training Data Makes Language Models Better",
    ACL 2022).
    """
    reference_digests, first = np.unique(sketches.digests[references], return_index=True)
    query_digests, query, inverse = np.unique(
        sketches.digests[queries], return_index=True, return_inverse=True
    )
    matches = np.full(len(query_digests), -1, dtype=np.int64)
    if len(reference_digests):
        position = np.searchsorted(reference_digests, query_digests)
        position = np.minimum(position, len(reference_digests) - 1)
        is_equal = reference_digests[position] == query_digests
        matches = np.where(is_equal, first[position], -1)
    unmatched = np.flatnonzero((matches < 0) & sketches.lettered[queries[query]])
    lettered = first[sketches.lettered[references[first]]]
    near = _lookup(sketches, queries[query[unmatched]], references[lettered], threshold)
    matches[unmatched[near >= 0]] = lettered[near[near >= 0]]
    return matches[inverse]


def _batches(weights: Ints | Rows, limit: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of about `limit` total weight, each with at least one element."""
    whole = np.cumsum(weights) // limit
    return pairwise(np.flatnonzero(np.diff(whole, prepend=-1, append=-2)).tolist())


def _order(sketches: Sketches, band: int, rows: Ints | Rows) -> Words:
    """Return sort keys: the bucket in the high half, the next band in the low half."""
    key = sketches.band(band)[rows].astype(np.uint64) << np.uint64(32)
    key |= sketches.band(band + 1)[rows]
    return key


def _link(sketches: Sketches, rows: Rows, threshold: float) -> Rows:
    """Return the component of each of these texts: the position of the component's first text.

    To compare all pairs of a bucket would be quadratic in the size of a campaign. Each member is
    compared with the `_WINDOW` members after it, one distance at a time, unless the two are in one
    component already. Inside a bucket the members are sorted by the next band, so messages that
    agree in two bands are adjacent, and each band gives other neighbours.
    """
    labels = np.arange(len(rows), dtype=np.int32)
    for band in range(sketches.n_bands if len(labels) else 0):
        key = _order(sketches, band, rows)
        members = np.argsort(key, kind="stable").astype(np.int32)
        bucket = (key[members] >> np.uint64(32)).astype(np.uint32)
        del key
        keep = _mixed(bucket, labels[members], 1)
        members, bucket = members[keep], bucket[keep]
        before, after = [labels[:0]], [labels[:0]]
        for start, stop in _batches(sketches.sizes[rows[members]], _BATCH_GRAMS):
            window = slice(start, stop + _WINDOW)
            components, component = np.unique(labels[members[window]], return_inverse=True)
            grams = sketches.grams(rows[members[window]])
            joined = _link_neighbours(grams, bucket[window], component, threshold)
            before.append(components[component[joined != component]])
            after.append(components[joined[joined != component]])
        # A label is also a position, that of the first member.
        labels = _join(labels, np.concatenate(before), np.concatenate(after))
    return labels


def _link_neighbours(grams: csr_array, bucket: Keys, labels: Ints, threshold: float) -> Ints:
    """Return the component of each of these texts, which are sorted by bucket."""
    positions = np.arange(len(labels))
    for step in range(1, _WINDOW + 1):
        positions = positions[_mixed(bucket[positions], labels[positions], step)]
        if not len(positions):
            break
        left, right = positions[:-step], positions[step:]
        new = (bucket[left] == bucket[right]) & (labels[left] != labels[right])
        left, right = left[new], right[new]
        similar = _similar(grams, left, grams, right, threshold)
        labels = _join(labels, left[similar], right[similar])
    return labels


def _mixed(bucket: Keys, labels: Ints | Rows, step: int) -> Flags:
    """Mark the members of buckets with more than `step` members and more than one component."""
    starts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    sizes = np.diff(starts, append=len(bucket))
    several = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
    return np.repeat(several & (sizes > step), sizes)


def _join(labels: Labels, left: Labels, right: Labels) -> Labels:
    """Return the labels after merging the components of each left and right member."""
    if not len(left):
        return labels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, ends = np.unique(labels[np.concatenate([left, right])], return_inverse=True)
    pairs = (np.ones(len(left), dtype=np.bool_), (ends[: len(left)], ends[len(left) :]))
    graph = coo_array(pairs, shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    # `nodes` is sorted, so the first node of a component is its smallest label.
    _, first = np.unique(component, return_index=True)
    renamed = np.arange(len(labels), dtype=labels.dtype)
    renamed[nodes] = nodes[first][component]
    return renamed[labels]


def _similar(a: csr_array, left: Ints, b: csr_array, right: Ints, threshold: float) -> Flags:
    """Return whether the Jaccard similarity of the gram sets of each pair reaches the threshold.

    Grams are compared by 31-bit fingerprints. In about one of 10^5 pairs of sets of a hundred grams
    two different grams coincide, which changes the similarity by one gram.
    """
    m, n = np.diff(a.indptr)[left], np.diff(b.indptr)[right]
    # The smaller set bounds what can be shared.
    similar: Flags = np.minimum(m, n) / np.maximum(m, n) >= threshold
    pairs = np.flatnonzero(similar)
    for start, stop in _batches((m + n)[pairs], _BATCH_GRAMS):
        pair = pairs[start:stop]
        shared = np.diff(a[left[pair]].multiply(b[right[pair]]).indptr)
        # Exact comparison is safe: 7 / 10 and the literal 0.7 round to the same float.
        similar[pair] = shared / (m[pair] + n[pair] - shared) >= threshold
    return similar


def _lookup(sketches: Sketches, queries: Ints, references: Ints, threshold: float) -> Ints:
    """Return for each query the position of a similar reference, or -1."""
    match = np.full(len(queries), -1)
    for band in range(sketches.n_bands if len(references) else 0):
        unmatched = np.flatnonzero(match < 0)
        if not len(unmatched):
            break
        key = _order(sketches, band, references)
        members = np.argsort(key, kind="stable").astype(np.int32)
        key = key[members]
        query_key = _order(sketches, band, queries[unmatched])
        position = np.searchsorted(key, query_key)
        bucket, query_bucket = key >> np.uint64(32), query_key >> np.uint64(32)
        low, high = (np.searchsorted(bucket, query_bucket, side=side) for side in ("left", "right"))
        del key, bucket, query_key, query_bucket
        # The window is inside the bucket, around the position that the query would have there.
        start = np.maximum(low, np.minimum(position - _QUERY_WINDOW // 2, high - _QUERY_WINDOW))
        for step in range(_QUERY_WINDOW):
            inside = (start + step < high) & (match[unmatched] < 0)
            unmatched, start, high = unmatched[inside], start[inside], high[inside]
            if not len(unmatched):
                break
            candidate = members[start + step]
            similar = _pairs_similar(sketches, queries[unmatched], references[candidate], threshold)
            match[unmatched[similar]] = candidate[similar]
    return match


def _pairs_similar(sketches: Sketches, left: Ints, right: Ints, threshold: float) -> Flags:
    similar = np.zeros(len(left), dtype=np.bool_)
    for start, stop in _batches(sketches.sizes[left] + sketches.sizes[right], _BATCH_GRAMS):
        pair = np.arange(stop - start)
        a, b = sketches.grams(left[start:stop]), sketches.grams(right[start:stop])
        similar[start:stop] = _similar(a, pair, b, pair, threshold)
    return similar
