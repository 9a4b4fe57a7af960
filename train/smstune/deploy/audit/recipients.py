"""Counts messages by recipient and day without keeping any recipient."""

from __future__ import annotations

import re
import secrets
from array import array
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smstune.deploy.audit.result import MessageSpread, RecipientCounts
from smstune.tables.times import CHINA, read_time

_EPOCH = date(1970, 1, 1)
#: Bits of a key that hold the day; the others hold the recipient.
_DAY_BITS = 16
_EDGES = (1, 2, 3, 5, 10, 20, 70)


@dataclass(frozen=True)
class Moment:
    """Day since 1970 and hour (0 to 23) in China; no hour where only a date was given."""

    day: int
    hour: int | None


def read_moment(cell: object) -> Moment | None:
    """Return a cell's time in China, ``None`` if it cannot be read or counted."""
    time = read_time(cell)
    if time is None:
        return None
    try:
        local = time.moment.astimezone(CHINA)
    except OverflowError:
        return None
    day = (local.date() - _EPOCH).days
    if not 0 <= day < 1 << _DAY_BITS:
        return None
    return Moment(day, None if time.date_only else local.hour)


class RecipientKeys:
    """Keyed hashes (BLAKE2b, 64 bits) of recipients, so that none has to be kept.

    The random key lives only as long as the object, so no hash can be traced back to a recipient.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, recipient: str) -> int:
        """Return the hash of a recipient; +86, blanks and dashes do not count."""
        name = re.sub(r"[\s-]", "", recipient)
        name = re.sub(r"^(?:\+|00)86(?=1\d{10}$)", "", name)
        digest = blake2b(name.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=8)
        return int.from_bytes(digest.digest())


class RecipientDays:
    """How many messages each recipient got on each day.

    Of a recipient's hash 48 bits are kept. Memory: 12 bytes for each recipient and day, about four
    times that while they are sorted. Among ten million recipients the chance that any two share
    their bits, and are counted as one, is about one in six.
    """

    def __init__(self, keys: RecipientKeys | None = None) -> None:
        self._recipients = keys or RecipientKeys()
        self._new = array("Q")
        self._keys: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._counts: NDArray[np.uint32] = np.zeros(0, np.uint32)

    def add(self, recipient: str, day: int) -> None:
        """Count a message to ``recipient`` on ``day``."""
        self._new.append(self._recipients.of(recipient) >> _DAY_BITS << _DAY_BITS | day)
        if len(self._new) >= max(1 << 20, len(self._keys) // 4):
            self._gather()

    def _gather(self) -> None:
        keys, counts = np.unique(np.frombuffer(self._new, np.uint64), return_counts=True)
        # Sorting puts equal keys, at most one of each array, next to each other.
        keys = np.concatenate([self._keys, keys])
        counts = np.concatenate([self._counts, counts.astype(np.uint32)])
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        first = np.flatnonzero(np.diff(keys, prepend=keys[0] ^ np.uint64(1)))
        self._keys, self._counts = keys[first], np.add.reduceat(counts, first, dtype=np.uint32)
        self._new = array("Q")

    def summary(self, limit: int) -> RecipientCounts | None:
        """Return messages per recipient, in a day and in any three; ``None`` without recipients.

        A count is over if it is above ``limit``.
        """
        if self._new:
            self._gather()
        if not len(self._keys):
            return None
        recipients = self._keys >> np.uint64(_DAY_BITS)
        days = self._keys & np.uint64((1 << _DAY_BITS) - 1)
        starts = np.flatnonzero(np.diff(recipients, prepend=recipients[0] ^ np.uint64(1)))
        window = self._counts.astype(np.int64)
        for step in (1, 2):
            near = (recipients[step:] == recipients[:-step]) & (days[step:] - days[:-step] <= 2)
            window[:-step] += np.where(near, self._counts[step:], 0)
        fullest = np.maximum.reduceat(window, starts)
        highest = np.maximum.reduceat(self._counts, starts)
        return RecipientCounts(
            recipients=len(starts),
            recipient_days=len(self._keys),
            recipients_over=int((highest > limit).sum()),
            a_day=_spread(self._counts, limit),
            three_days=_spread(fullest, limit),
        )


def _spread(counts: NDArray[Any], limit: int) -> MessageSpread:
    """Return how many of ``counts`` lie in each range and how many are above ``limit``."""
    bins = np.bincount(np.searchsorted(_EDGES, counts), minlength=len(_EDGES) + 1).tolist()
    return MessageSpread(
        distribution=dict(zip(_range_names(), bins, strict=True)),
        over=int((counts > limit).sum()),
        share=float((counts > limit).mean()),
        mean=float(counts.mean()),
        most=int(counts.max()),
    )


def _range_names() -> list[str]:
    lows = [1, *(edge + 1 for edge in _EDGES)]
    bounds = zip(lows, _EDGES, strict=False)
    closed = [str(low) if low == high else f"{low}-{high}" for low, high in bounds]
    return [*closed, f"{lows[-1]}-"]
