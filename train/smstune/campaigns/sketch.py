"""MinHash sketches of all texts; band keys and gram sets are stored on disk.

Signatures come from rensa (after Dahlgaard, Knudsen and Thorup, "Fast Similarity Sketching",
FOCS 2017), which takes hashed grams as one flat array, in a third of datasketch's time. The banding
is numpy, because the indexes of both return a whole bucket for each query, which is quadratic:
20,000 variants of one message took rensa's index 20 s, 10,000 took datasketch's 11 s.
"""

from __future__ import annotations

import mmap
import re
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rensa
import xxhash
from numpy.typing import NDArray

from smstune.arrays import Flags, Ints, Keys, Rows, Words

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*\]")
_GRAM = 3
_NUM_PERM = 128
# Probability that a pair exactly at the threshold shares no band.
_MISS = 0.005
_BATCH_CHARS = 1 << 16
# Reading one row maps 64 KiB of the file, 256 MiB for this many rows.
_ROWS_AT_ONCE = 1 << 12
_MAX_MAPPED = 1 << 28
# Gram fingerprints are column numbers of a sparse matrix, which stays in 32-bit indices below this.
_COLUMNS = 2**31 - 1


@dataclass(frozen=True)
class TextSketches:
    """Sketches of texts in memory; the fingerprints of a text's grams are sorted, each once."""

    digests: Words  # equal where the skeletons are, or without letters the texts themselves
    lettered: Flags  # whether the text has a letter
    keys: Keys  # (bands, texts)
    sizes: Rows  # distinct grams of the text, at least 1
    grams: Rows  # the fingerprints of all texts, one text after the other


@dataclass(frozen=True)
class Sketches:
    """Sketches of all texts: 21 bytes a text in memory, 4 bytes a band and 4 a gram on disk."""

    folder: Path
    n_bands: int
    digests: Words  # equal where the skeletons are, or without letters the texts themselves
    lettered: Flags  # whether the text has a letter
    sizes: NDArray[np.int32]  # distinct grams of the text, at least 1
    starts: Ints  # where the grams of the text begin in the file
    mapped: mmap.mmap

    def band(self, number: int) -> Keys:
        """Return the key of each text in one band; the band after the last is the first."""
        return np.fromfile(self.folder / f"band-{number % self.n_bands}", dtype=np.uint32)

    def grams(self, rows: Ints | Rows) -> csr_array:
        """Return the gram sets of these texts, (texts, 2**31 - 1), True where a text has a gram."""
        from scipy.sparse import csr_array

        counts = self.sizes[rows]
        bounds = np.append(0, np.cumsum(counts)).astype(np.int32)
        columns = np.empty(bounds[-1], dtype=np.int32)
        stored = np.frombuffer(self.mapped, dtype=np.int32)
        shifts = self.starts[rows] - bounds[:-1]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            batch = slice(start, start + _ROWS_AT_ONCE)
            low, high = bounds[start], bounds[min(batch.stop, len(bounds) - 1)]
            positions = np.repeat(shifts[batch], counts[batch]) + np.arange(low, high)
            columns[low:high] = stored[positions]
            # Pages that were read count as this process's memory until they are released.
            if len(self.mapped) > _MAX_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
                self.mapped.madvise(mmap.MADV_DONTNEED)
        entries = (np.ones(len(columns), dtype=np.bool_), columns, bounds)
        return csr_array(entries, shape=(len(rows), _COLUMNS))


def skeleton(text: str) -> str:
    """Return what two messages are compared by: their letters, lower-cased.

    Digits, bracketed placeholders such as ``[PHONE]``, white space, punctuation and symbols vary
    between copies and are dropped: the canonical form that Broder, Glassman, Manasse and Zweig
    take before shingling ("Syntactic clustering of the Web", 1997), for SMS. Chinese characters
    are letters, numerals such as 三 included.
    """
    # isalpha, not \w: the latter lets circled digits and the underscore through.
    return "".join(filter(str.isalpha, _PLACEHOLDER.sub("", text).lower()))


def sketch(
    texts: Iterable[str], folder: Path, *, threshold: float = 0.7, seed: int = 0
) -> Sketches:
    """Return the sketches of the texts, which find pairs of `threshold`; files go into `folder`.

    The texts are read once.

    Raises:
        ValueError: on a threshold outside 0.1 to 1, or a text that is no string.
    """
    n_bands, _ = _banding(threshold)
    digests, lettered, sizes = array("Q"), bytearray(), array("i")
    with ExitStack() as stack:
        names = [f"band-{band}" for band in range(n_bands)]
        bands = [stack.enter_context((folder / name).open("wb")) for name in names]
        grams = stack.enter_context((folder / "grams").open("wb"))
        for batch in _sketch_batches(texts, threshold, seed):
            digests.frombytes(batch.digests.tobytes())
            lettered.extend(batch.lettered.tobytes())
            for stream, column in zip(bands, batch.keys, strict=True):
                stream.write(column.tobytes())
            grams.write(batch.grams.tobytes())
            sizes.frombytes(batch.sizes.tobytes())
        # An empty file cannot be mapped.
        grams.write(bytes(4))
    size_array = np.array(sizes, dtype=np.int32)
    with (folder / "grams").open("rb") as file:
        return Sketches(
            folder,
            n_bands,
            np.array(digests, dtype=np.uint64),
            np.array(lettered, dtype=np.bool_),
            size_array,
            np.cumsum(size_array, dtype=np.int64) - size_array,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
        )


def sketch_texts(texts: Iterable[str], *, threshold: float = 0.7, seed: int = 0) -> TextSketches:
    """Return the sketches that `sketch` stores on disk, in memory.

    Raises:
        ValueError: as `sketch`.
    """
    n_bands, _ = _banding(threshold)
    empty = TextSketches(
        np.empty(0, np.uint64),
        np.empty(0, np.bool_),
        np.empty((n_bands, 0), np.uint32),
        np.empty(0, np.int32),
        np.empty(0, np.int32),
    )
    batches = [empty, *_sketch_batches(texts, threshold, seed)]
    return TextSketches(
        np.concatenate([batch.digests for batch in batches]),
        np.concatenate([batch.lettered for batch in batches]),
        np.concatenate([batch.keys for batch in batches], axis=1),
        np.concatenate([batch.sizes for batch in batches]),
        np.concatenate([batch.grams for batch in batches]),
    )


def _sketch_batches(texts: Iterable[str], threshold: float, seed: int) -> Iterator[TextSketches]:
    n_bands, rows = _banding(threshold)
    for batch in _skeletons(texts):
        hashes, counts = _grams([letters for letters, _ in batch])
        owner = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
        keyed = np.sort(owner << np.uint64(32) | hashes % np.uint64(_COLUMNS))
        keyed = keyed[np.append(True, keyed[1:] != keyed[:-1])]
        yield TextSketches(
            np.array([digest for _, digest in batch], dtype=np.uint64),
            np.array([bool(letters) for letters, _ in batch], dtype=np.bool_),
            _band_keys(hashes, counts, n_bands, rows, seed),
            np.bincount((keyed >> np.uint64(32)).astype(np.int64)).astype(np.int32),
            (keyed & np.uint64(2**32 - 1)).astype(np.int32),
        )


def _skeletons(texts: Iterable[str]) -> Iterator[list[tuple[str, int]]]:
    """Yield skeleton and digest of each text, in batches of about the same number of letters."""
    batch: list[tuple[str, int]] = []
    weight = 0
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"expected strings, found {type(text).__name__} at {index}: drop it first"
            )
        letters = skeleton(text)
        # A skeleton holds no NUL, so a text without letters cannot meet a skeleton.
        identity = (letters or "\0" + text).encode("utf-8", "surrogatepass")
        batch.append((letters, xxhash.xxh3_64_intdigest(identity)))
        weight += len(letters) + _NUM_PERM
        if weight >= _BATCH_CHARS:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _banding(threshold: float) -> tuple[int, int]:
    """Return (bands, rows): the most selective banding that still finds pairs at the threshold."""
    if not 0.1 <= threshold <= 1:
        raise ValueError(f"expected a threshold from 0.1 to 1, found {threshold!r}: try 0.7")
    sure = (n for n in range(_NUM_PERM, 1, -1) if (1 - threshold**n) ** (_NUM_PERM // n) <= _MISS)
    rows = next(sure, 1)
    return _NUM_PERM // rows, rows


def _grams(skeletons: list[str]) -> tuple[Words, Ints]:
    """Return the 64-bit hashes of all 3-grams, text by text, and the number of grams of each."""
    # Padding makes a skeleton shorter than a gram one gram of its own.
    padded = [letters.ljust(_GRAM, "\0") for letters in skeletons]
    counts = np.array([len(letters) for letters in padded], dtype=np.int64)
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    code = points.astype(np.uint64)
    # A code point has 21 bits, so three fit into one word and no two grams get the same word.
    packed = code[:-2] << np.uint64(42) | code[1:-1] << np.uint64(21) | code[2:]
    inside = np.ones(len(packed), dtype=np.bool_)
    ends = np.cumsum(counts)[:-1]
    inside[ends - 1] = inside[ends - 2] = False
    return _mix(packed[inside]), counts - _GRAM + 1


def _mix(word: Words) -> Words:
    """Apply the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection."""
    word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: Words = word ^ word >> np.uint64(31)
    return mixed


def _band_keys(grams: Words, counts: Ints, n_bands: int, rows: int, seed: int) -> Keys:
    """Return (bands, messages) keys, equal if two messages agree in all MinHash rows of a band."""
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
