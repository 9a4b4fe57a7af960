"""Near-duplicate messages: which texts are variants of one campaign.

A sender of bulk SMS reuses one wording and changes the numbers, the link, a few characters; a
random split then puts copies on both sides, and the test score measures memory. Two messages are
near-duplicates when the Jaccard similarity of their sets of 3-grams reaches a threshold.

Candidates come from MinHash (Broder, "On the resemblance and containment of documents", 1997) with
banded locality-sensitive hashing (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3). Each is verified on the gram sets, and their number for one message is bounded.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import rensa
import xxhash
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Keys = NDArray[np.uint32]
Flags = NDArray[np.bool_]

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*\]")
_GRAM = 3
_NUM_PERM = 128
# Chance that a pair exactly at the threshold shares no band.
_MISS = 0.005
# Members of a bucket that one message is compared with. A query looks further: it has one chance a
# band, where a message of a campaign is also reached through the others.
_WINDOW = 32
_QUERY_WINDOW = 128
_BATCH_CHARS = 1 << 16
_BATCH_GRAMS = 1 << 20
# Gram fingerprints are column numbers of a sparse matrix, which stays in 32-bit indices below this.
_COLUMNS = 2**31 - 1


@dataclass(frozen=True)
class _Sketches:
    """What is kept of each distinct message: about 4 bytes a band and 5 bytes a gram."""

    bands: Keys  # (number of bands, messages)
    grams: csr_array  # (messages, _COLUMNS), True where the message has the gram
    sizes: Ints  # grams per message


def skeleton(text: str) -> str:
    """What two messages are compared by: their letters, lower-cased.

    Digits, bracketed placeholders such as ``[PHONE]``, white space, punctuation and symbols vary
    between copies and are dropped: the canonical form that Broder, Glassman, Manasse and Zweig
    take before shingling ("Syntactic clustering of the Web", 1997), for SMS. Chinese characters
    are letters, numerals such as 三 included.
    """
    # isalpha, not \w: the latter lets circled digits and the underscore through.
    return "".join(filter(str.isalpha, _PLACEHOLDER.sub("", text).lower()))


def campaign_groups(texts: Sequence[str], *, threshold: float = 0.7, seed: int = 0) -> Ints:
    """One group id for each text: the index of the first text of its campaign.

    Two texts share a group when a chain of pairs, each verified to have a Jaccard similarity of at
    least `threshold` over the 3-grams of their `skeleton`, joins them. Texts without any letter
    group by exact equality. The partition depends on the set of texts alone, not on their order.

    Signatures come from rensa (after Dahlgaard, Knudsen and Thorup, "Fast Similarity Sketching",
    FOCS 2017), which takes hashed grams as one flat array, in a third of datasketch's time. The
    banding is numpy, because the indexes of both answer a query with the whole bucket: 20,000
    variants of one message took rensa's 20 s, 10,000 took datasketch's 11 s, both quadratic.
    """
    banding = _banding(threshold)
    texts = list(texts)
    # In the order of their digests: nothing below depends on the order of `texts`.
    _, first, inverse, lengths = _distinct(texts)
    lettered = np.flatnonzero(lengths)
    sketches = _sketch([texts[i] for i in first[lettered]], lengths[lettered], banding, seed)
    labels = np.arange(len(first))
    labels[lettered] = lettered[_link(sketches, threshold)]
    earliest = np.full(len(first), len(texts))
    np.minimum.at(earliest, labels, first)
    return earliest[labels][inverse].astype(np.int64)


def near_matches(
    queries: Sequence[str], references: Sequence[str], *, threshold: float = 0.7, seed: int = 0
) -> Ints:
    """For each query the index of one near-duplicate among the references, or -1.

    An equal skeleton is preferred; otherwise any reference whose verified similarity reaches
    `threshold`, found as in `campaign_groups`. Counts the test messages with a copy in train (Lee
    et al., "Deduplicating Training Data Makes Language Models Better", ACL 2022).
    """
    banding = _banding(threshold)
    queries, references = list(queries), list(references)
    known, first, _, lengths = _distinct(references)
    wanted, query, inverse, query_lengths = _distinct(queries)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found = np.where(known[at] == wanted, first[at], -1) if len(known) else np.full(len(wanted), -1)

    open_, lettered = np.flatnonzero((found < 0) & (query_lengths > 0)), np.flatnonzero(lengths)
    ours = _sketch([queries[i] for i in query[open_]], query_lengths[open_], banding, seed)
    theirs = _sketch([references[i] for i in first[lettered]], lengths[lettered], banding, seed)
    match = _lookup(ours, theirs, threshold)
    found[open_[match >= 0]] = first[lettered[match[match >= 0]]]
    return found[inverse].astype(np.int64)


def _distinct(texts: list[str]) -> tuple[Words, Ints, Ints, Ints]:
    """Sorted digests of distinct texts, first index of each, digest of each text, lengths.

    Two texts are distinct when their skeletons are, or without letters when they are themselves.
    """
    digests = np.empty(len(texts), dtype=np.uint64)
    lengths = np.empty(len(texts), dtype=np.int64)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"expected strings, found {type(text).__name__} at {i}: drop it first")
        letters = skeleton(text)
        # A skeleton holds no NUL, so a text without letters cannot meet a skeleton.
        identity = (letters or "\0" + text).encode("utf-8", "surrogatepass")
        digests[i] = xxhash.xxh3_64_intdigest(identity)
        lengths[i] = len(letters)
    digests, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return digests, first, inverse, lengths[first]


def _banding(threshold: float) -> tuple[int, int]:
    """(bands, rows): the most selective banding that still finds pairs at the threshold."""
    if not 0.1 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0.1 to 1, found {threshold!r}: try 0.7")
    sure = (n for n in range(_NUM_PERM, 1, -1) if (1 - threshold**n) ** (_NUM_PERM // n) <= _MISS)
    rows = next(sure, 1)
    return _NUM_PERM // rows, rows


def _sketch(texts: list[str], lengths: Ints, banding: tuple[int, int], seed: int) -> _Sketches:
    """Band keys and gram sets of texts whose skeletons have these lengths, none of them 0."""
    n_bands, rows = banding
    bands = np.empty((n_bands, len(texts)), dtype=np.uint32)
    sizes = np.zeros(len(texts), dtype=np.int64)
    # Repeated grams make this a little too long; one allocation beats joining pieces at the end.
    columns = np.empty(np.maximum(lengths - _GRAM + 1, 1).sum(), dtype=np.int32)
    used = 0
    for start, stop in _batches(lengths + _NUM_PERM, _BATCH_CHARS):
        grams, counts = _grams([skeleton(text) for text in texts[start:stop]])
        bands[:, start:stop] = _band_keys(grams, counts, n_bands, rows, seed)
        owner = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
        keyed = np.sort(owner << np.uint64(32) | grams % np.uint64(_COLUMNS))
        keyed = keyed[np.append(True, keyed[1:] != keyed[:-1])]
        columns[used : used + len(keyed)] = keyed & np.uint64(2**32 - 1)
        sizes[start:stop] = np.bincount((keyed >> np.uint64(32)).astype(np.int64))
        used += len(keyed)
    # One 64-bit index array would make scipy widen the columns too.
    bounds = np.append(0, np.cumsum(sizes)).astype(np.int32 if used <= _COLUMNS else np.int64)
    entries = (np.ones(used, dtype=np.bool_), columns[:used], bounds)
    return _Sketches(bands, csr_array(entries, shape=(len(texts), _COLUMNS)), sizes)


def _batches(weights: Ints, limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of about `limit` total weight, each with at least one element."""
    whole = np.cumsum(weights) // limit
    return pairwise(np.flatnonzero(np.diff(whole, prepend=-1, append=-2)).tolist())


def _grams(skeletons: list[str]) -> tuple[Words, Ints]:
    """Mixed 64-bit hashes of all 3-grams, one text after another, and how many each has."""
    # Padding makes a skeleton shorter than a gram one gram of its own.
    padded = [letters.ljust(_GRAM, "\0") for letters in skeletons]
    counts = np.array([len(letters) for letters in padded], dtype=np.int64)
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    code = points.astype(np.uint64)
    # A code point has 21 bits: three of them fit a word exactly, no two grams share one.
    packed = code[:-2] << np.uint64(42) | code[1:-1] << np.uint64(21) | code[2:]
    inside = np.ones(len(packed), dtype=np.bool_)
    ends = np.cumsum(counts)[:-1]
    inside[ends - 1] = inside[ends - 2] = False
    return _mix(packed[inside]), counts - _GRAM + 1


def _mix(word: Words) -> Words:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection."""
    word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: Words = word ^ word >> np.uint64(31)
    return mixed


def _band_keys(grams: Words, counts: Ints, n_bands: int, rows: int, seed: int) -> Keys:
    """(bands, messages) keys: equal where two messages agree in all MinHash rows of the band."""
    offsets = np.append(0, np.cumsum(counts)).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        grams, offsets, _NUM_PERM, seed % 2**64
    )
    slots = np.array(matrix.to_rows(), np.uint64)[:, : n_bands * rows].reshape(-1, n_bands, rows)
    key = np.zeros(slots.shape[:2], dtype=np.uint64)
    for row in range(rows):
        key = _mix(key ^ slots[:, :, row] + np.uint64(row))
    # Half of the key is enough: a chance collision costs one verification.
    return key.T.astype(np.uint32)


def _order(bands: Keys, band: int) -> Words:
    """Sort keys: the bucket in the high half, the next band in the low half."""
    key: Words = bands[band].astype(np.uint64) << np.uint64(32) | bands[(band + 1) % len(bands)]
    return key


def _link(sketches: _Sketches, threshold: float) -> Ints:
    """Component label of each message.

    All pairs of a bucket would be quadratic in the size of a campaign. Each member meets the
    `_WINDOW` members after it, one distance at a time, unless the two are joined already. The next
    band decides the order inside a bucket, so messages that agree in two bands lie side by side,
    and each band brings other neighbours.
    """
    labels = np.arange(len(sketches.sizes))
    for band in range(len(sketches.bands) if len(labels) else 0):
        members = np.argsort(_order(sketches.bands, band), kind="stable")
        bucket = sketches.bands[band][members]
        for step in range(1, _WINDOW + 1):
            keep = _mixed(bucket, labels[members], step)
            members, bucket = members[keep], bucket[keep]
            if not len(members):
                break
            left, right = members[:-step], members[step:]
            new = (bucket[:-step] == bucket[step:]) & (labels[left] != labels[right])
            left, right = left[new], right[new]
            similar = _similar(sketches, left, sketches, right, threshold)
            labels = _join(labels, left[similar], right[similar])
    return labels


def _mixed(bucket: Keys, labels: Ints, step: int) -> Flags:
    """Members of buckets with more than `step` members and more than one component."""
    starts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    sizes = np.diff(starts, append=len(bucket))
    several = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
    return np.repeat(several & (sizes > step), sizes)


def _join(labels: Ints, left: Ints, right: Ints) -> Ints:
    """Labels after the components of each left and right member became one."""
    if not len(left):
        return labels
    nodes, ends = np.unique(labels[np.concatenate([left, right])], return_inverse=True)
    pairs = (np.ones(len(left), dtype=np.bool_), (ends[: len(left)], ends[len(left) :]))
    graph = coo_array(pairs, shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    # `nodes` is sorted, so the first node of a component is its smallest label.
    _, first = np.unique(component, return_index=True)
    renamed = np.arange(len(labels))
    renamed[nodes] = nodes[first][component]
    return renamed[labels]


def _similar(a: _Sketches, left: Ints, b: _Sketches, right: Ints, threshold: float) -> Flags:
    """Whether the Jaccard similarity of the gram sets of each pair reaches the threshold.

    Grams are compared by 31-bit fingerprints: two sets of a hundred grams hold one coincidence in
    about 10^5 pairs, which then moves the similarity by one gram.
    """
    m, n = a.sizes[left], b.sizes[right]
    result: Flags = np.minimum(m, n) / np.maximum(m, n) >= threshold  # no more can be shared
    pairs = np.flatnonzero(result)
    for start, stop in _batches((m + n)[pairs], _BATCH_GRAMS):
        pair = pairs[start:stop]
        shared = np.diff(a.grams[left[pair]].multiply(b.grams[right[pair]]).indptr)
        # The quotient rounds as the literal threshold does: 7 of 10 is 0.7.
        result[pair] = shared / (m[pair] + n[pair] - shared) >= threshold
    return result


def _lookup(ours: _Sketches, theirs: _Sketches, threshold: float) -> Ints:
    """For each of ours the position of one of theirs that is similar, or -1."""
    match = np.full(len(ours.sizes), -1)
    for band in range(len(ours.bands)):
        open_ = np.flatnonzero(match < 0)
        key, wanted = _order(theirs.bands, band), _order(ours.bands, band)[open_]
        members = np.argsort(key, kind="stable")
        bucket, place = theirs.bands[band][members], np.searchsorted(key[members], wanted)
        low = np.searchsorted(bucket, ours.bands[band][open_])
        high = np.searchsorted(bucket, ours.bands[band][open_], side="right")
        # The window lies inside the bucket, around the place where the query would stand.
        start = np.maximum(low, np.minimum(place - _QUERY_WINDOW // 2, high - _QUERY_WINDOW))
        for step in range(_QUERY_WINDOW):
            inside = (start + step < high) & (match[open_] < 0)
            open_, start, high = open_[inside], start[inside], high[inside]
            if not len(open_):
                break
            candidate = members[start + step]
            similar = _similar(ours, open_, theirs, candidate, threshold)
            match[open_[similar]] = candidate[similar]
    return match
