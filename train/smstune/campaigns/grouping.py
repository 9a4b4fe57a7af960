"""Near-duplicate messages: which texts are variants of one campaign.

A sender of bulk SMS reuses one wording and changes the numbers, the link, a few characters; a
random split then puts copies on both sides, and the test score measures memory. Two messages are
near-duplicates when the Jaccard similarity of their sets of 3-grams reaches a threshold.

Candidates come from MinHash (Broder, "On the resemblance and containment of documents", 1997) with
banded locality-sensitive hashing (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3). Each is verified on the gram sets, and their number for one message is bounded.
Bands are taken one at a time and gram sets a batch at a time, so that memory holds numbers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from smstune.arrays import Flags, Ints, Keys, Rows, Words
from smstune.campaigns.sketch import Sketches, sketch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Labels = TypeVar("Labels", Ints, Rows)

# Members of a bucket that one message is compared with. A query looks further: it has one chance a
# band, where a message of a campaign is also reached through the others.
_WINDOW = 32
_QUERY_WINDOW = 128
_BATCH_GRAMS = 1 << 20


def campaign_groups(texts: Iterable[str], *, threshold: float = 0.7, seed: int = 0) -> Ints:
    """One group id for each text: the index of the first text of its campaign.

    Two texts share a group when a chain of pairs, each verified to have a Jaccard similarity of at
    least `threshold` over the 3-grams of their `skeleton`, joins them. Texts without any letter
    group by exact equality. The partition depends on the set of texts alone, not on their order.
    """
    with TemporaryDirectory() as folder:
        return group(sketch(texts, Path(folder), threshold=threshold, seed=seed), threshold)


def near_matches(
    queries: Sequence[str], references: Sequence[str], *, threshold: float = 0.7, seed: int = 0
) -> Ints:
    """For each query the index of one near-duplicate among the references, or -1 (see `match`)."""
    rows = np.arange(len(queries) + len(references))
    with TemporaryDirectory() as folder:
        both = chain(queries, references)
        sketches = sketch(both, Path(folder), threshold=threshold, seed=seed)
        return match(sketches, rows[: len(queries)], rows[len(queries) :], threshold)


def group(sketches: Sketches, threshold: float = 0.7) -> Ints:
    """The groups of `campaign_groups`, from sketches."""
    # In the order of their digests: nothing below depends on the order of the texts.
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
    """For each query the index of one near-duplicate among the references, or -1.

    Both are rows of the sketches. An equal skeleton is preferred; otherwise any reference whose
    verified similarity reaches `threshold`, found as in `group`. Counts the test messages with a
    copy in train (Lee et al., "Deduplicating Training Data Makes Language Models Better", ACL
    2022).
    """
    known, first = np.unique(sketches.digests[references], return_index=True)
    wanted, query, inverse = np.unique(
        sketches.digests[queries], return_index=True, return_inverse=True
    )
    found = np.full(len(wanted), -1, dtype=np.int64)
    if len(known):
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found = np.where(known[at] == wanted, first[at], -1)
    open_ = np.flatnonzero((found < 0) & sketches.lettered[queries[query]])
    lettered = first[sketches.lettered[references[first]]]
    near = _lookup(sketches, queries[query[open_]], references[lettered], threshold)
    found[open_[near >= 0]] = lettered[near[near >= 0]]
    return found[inverse]


def _batches(weights: Ints | Rows, limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of about `limit` total weight, each with at least one element."""
    whole = np.cumsum(weights) // limit
    return pairwise(np.flatnonzero(np.diff(whole, prepend=-1, append=-2)).tolist())


def _order(sketches: Sketches, band: int, rows: Ints | Rows) -> Words:
    """Sort keys: the bucket in the high half, the next band in the low half."""
    key = sketches.band(band)[rows].astype(np.uint64) << np.uint64(32)
    key |= sketches.band(band + 1)[rows]
    return key


def _link(sketches: Sketches, rows: Rows, threshold: float) -> Rows:
    """Component label of each of these texts: the position of the first of its component.

    All pairs of a bucket would be quadratic in the size of a campaign. Each member meets the
    `_WINDOW` members after it, one distance at a time, unless the two are joined already. The next
    band decides the order inside a bucket, so messages that agree in two bands lie side by side,
    and each band brings other neighbours.
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
            part = slice(start, stop + _WINDOW)
            known, own = np.unique(labels[members[part]], return_inverse=True)
            grams = sketches.grams(rows[members[part]])
            joined = _link_neighbours(grams, bucket[part], own, threshold)
            before.append(known[own[joined != own]])
            after.append(known[joined[joined != own]])
        # A label is a position too, that of the first member.
        labels = _join(labels, np.concatenate(before), np.concatenate(after))
    return labels


def _link_neighbours(grams: csr_array, bucket: Keys, labels: Ints, threshold: float) -> Ints:
    """Component label of each of these texts, which are sorted by bucket."""
    at = np.arange(len(labels))
    for step in range(1, _WINDOW + 1):
        at = at[_mixed(bucket[at], labels[at], step)]
        if not len(at):
            break
        left, right = at[:-step], at[step:]
        new = (bucket[left] == bucket[right]) & (labels[left] != labels[right])
        left, right = left[new], right[new]
        similar = _similar(grams, left, grams, right, threshold)
        labels = _join(labels, left[similar], right[similar])
    return labels


def _mixed(bucket: Keys, labels: Ints | Rows, step: int) -> Flags:
    """Members of buckets with more than `step` members and more than one component."""
    starts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    sizes = np.diff(starts, append=len(bucket))
    several = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
    return np.repeat(several & (sizes > step), sizes)


def _join(labels: Labels, left: Labels, right: Labels) -> Labels:
    """Labels after the components of each left and right member became one."""
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
    """Whether the Jaccard similarity of the gram sets of each pair reaches the threshold.

    Grams are compared by 31-bit fingerprints: two sets of a hundred grams hold one coincidence in
    about 10^5 pairs, which then moves the similarity by one gram.
    """
    m, n = np.diff(a.indptr)[left], np.diff(b.indptr)[right]
    result: Flags = np.minimum(m, n) / np.maximum(m, n) >= threshold  # no more can be shared
    pairs = np.flatnonzero(result)
    for start, stop in _batches((m + n)[pairs], _BATCH_GRAMS):
        pair = pairs[start:stop]
        shared = np.diff(a[left[pair]].multiply(b[right[pair]]).indptr)
        # The quotient rounds as the literal threshold does: 7 of 10 is 0.7.
        result[pair] = shared / (m[pair] + n[pair] - shared) >= threshold
    return result


def _lookup(sketches: Sketches, ours: Ints, theirs: Ints, threshold: float) -> Ints:
    """For each of our texts the position of one of theirs that is similar, or -1."""
    match = np.full(len(ours), -1)
    for band in range(sketches.n_bands if len(theirs) else 0):
        open_ = np.flatnonzero(match < 0)
        if not len(open_):
            break
        key = _order(sketches, band, theirs)
        members = np.argsort(key, kind="stable").astype(np.int32)
        key = key[members]
        wanted = _order(sketches, band, ours[open_])
        place = np.searchsorted(key, wanted)
        bucket, mine = key >> np.uint64(32), wanted >> np.uint64(32)
        low, high = (np.searchsorted(bucket, mine, side=side) for side in ("left", "right"))
        del key, bucket, wanted, mine
        # The window lies inside the bucket, around the place where the query would stand.
        start = np.maximum(low, np.minimum(place - _QUERY_WINDOW // 2, high - _QUERY_WINDOW))
        for step in range(_QUERY_WINDOW):
            inside = (start + step < high) & (match[open_] < 0)
            open_, start, high = open_[inside], start[inside], high[inside]
            if not len(open_):
                break
            candidate = members[start + step]
            similar = _pairs_similar(sketches, ours[open_], theirs[candidate], threshold)
            match[open_[similar]] = candidate[similar]
    return match


def _pairs_similar(sketches: Sketches, left: Ints, right: Ints, threshold: float) -> Flags:
    similar = np.zeros(len(left), dtype=np.bool_)
    for start, stop in _batches(sketches.sizes[left] + sketches.sizes[right], _BATCH_GRAMS):
        pair = np.arange(stop - start)
        a, b = sketches.grams(left[start:stop]), sketches.grams(right[start:stop])
        similar[start:stop] = _similar(a, pair, b, pair, threshold)
    return similar
