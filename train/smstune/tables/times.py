"""Times as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

_CLOCK = (
    r"(\d{1,2})[:：时](\d{1,2})(?:[:：分](\d{1,2})(?:\.\d+)?)?[分秒]? ?(Z|[+-]\d\d:?(?:\d\d)?)?"
)
_TIMES = (
    re.compile(
        rf"(\d{{4}})(?:[-/.年](\d{{1,2}})(?:[-/.月](\d{{1,2}})日?[ T]?(?:{_CLOCK})?|月)?)?年?"
    ),
    re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?()"),
)


def parse_times(times: Iterable[str | None]) -> NDArray[np.datetime64]:
    """Return the moment that each text names, "not a time" where it names none."""
    moments = (None if time is None else parse_time(time) for time in times)
    return np.fromiter((np.datetime64(one, "s") for one in moments), dtype="datetime64[s]")


def parse_time(text: str | None) -> datetime | None:
    """Return the moment that ``text`` names, or ``None`` when it names none.

    Year, month and day in this order, apart by ``-``, ``/``, ``.`` or 年月日, or run together in 8,
    12 or 14 digits; the day, the month and the clock may be missing and then count as the first
    moment of what is named, so 2010/11 is midnight of 1 November. A zone offset is taken off; times
    without one are taken as they stand.
    """
    plain = " ".join(text.split()) if isinstance(text, str) else ""
    match = _TIMES[0].fullmatch(plain) or _TIMES[1].fullmatch(plain)
    if match is None:
        return None
    year, month, day, hour, minute, second, zone = match.groups()
    try:
        moment = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
        )
        if zone in (None, "", "Z"):
            return moment
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:].strip(":") or 0))
        return moment + offset if zone[0] == "-" else moment - offset
    except (ValueError, OverflowError):
        return None
