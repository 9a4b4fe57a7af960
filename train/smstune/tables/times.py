"""Reads times as people and programs write them; a time without a zone is China's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

#: China has had one time zone, without summer time, since 1992.
CHINA = timezone(timedelta(hours=8))

_CLOCK = (
    r"(?P<hour>\d{1,2})[:：时](?P<minute>\d{1,2})(?:[:：分](?P<second>\d{1,2})(?:\.\d+)?)?[分秒]?"
    r"(?: ?(?P<zone>Z|[+-]\d\d:?(?:\d\d)?))?"
)
# A clock time may only follow a day.
_DAY = rf"(?P<day>\d{{1,2}})日?[ T]?(?:{_CLOCK})?"
_MONTH = rf"(?P<month>\d{{1,2}})(?:[-/.月]{_DAY}|月)?"
_WRITTEN = re.compile(rf"(?P<year>\d{{4}})(?:[-/.年]{_MONTH})?年?")
_RUN_TOGETHER = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?)?(?P<zone>)"
)
_EPOCH_SECONDS = re.compile(r"\d{10}(?:\.\d+)?")
_EPOCH_MILLISECONDS = re.compile(r"\d{13}")
#: Excel counts days from here; five digits reach from 1927 to 2173.
_EXCEL_DAY_0 = datetime(1899, 12, 30, tzinfo=CHINA)
_EXCEL_SERIAL = re.compile(r"[1-9]\d{4}(?:\.\d+)?")


@dataclass(frozen=True)
class Time:
    """A moment with its offset; with ``date_only`` no time of day was given, and it is midnight."""

    moment: datetime
    date_only: bool


def read_time(cell: object) -> Time | None:
    """Return the time in a cell, or ``None`` if it is not one.

    That is a date or time of a typed column; text with year, month and day in this order, separated
    by ``-``, ``/``, ``.`` or 年月日, or written together in 8, 12 or 14 digits; seconds (10 digits)
    or milliseconds (13) since 1970; or an Excel serial date (5 digits). A missing month, day or
    time of day counts as the first one. A time without a zone is China's.
    """
    try:
        if isinstance(cell, datetime):
            return Time(cell if cell.tzinfo else cell.replace(tzinfo=CHINA), date_only=False)
        if isinstance(cell, date):
            midnight = datetime(cell.year, cell.month, cell.day, tzinfo=CHINA)
            return Time(midnight, date_only=True)
        return _parse(" ".join(_digits(cell).split()))
    except (ValueError, OverflowError, OSError):
        return None


def parse_times(times: Iterable[str | None]) -> NDArray[np.datetime64]:
    """Return the moment of each text in UTC, ``NaT`` for a text that is not a time."""
    moments = (None if time is None else _utc(time.moment) for time in map(read_time, times))
    return np.fromiter((np.datetime64(moment, "s") for moment in moments), dtype="datetime64[s]")


def with_offset(text: str | None) -> str | None:
    """Return a time in ISO 8601 with its offset; a text that is not a time is unchanged."""
    time = read_time(text)
    return text if time is None else time.moment.isoformat()


def _digits(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell) if isinstance(cell, (str, int, float)) else ""


def _parse(text: str) -> Time | None:
    if _EPOCH_SECONDS.fullmatch(text):
        return Time(datetime.fromtimestamp(float(text), CHINA), date_only=False)
    if _EPOCH_MILLISECONDS.fullmatch(text):
        return Time(datetime.fromtimestamp(int(text) / 1000, CHINA), date_only=False)
    if _EXCEL_SERIAL.fullmatch(text):
        # Excel stores seconds as fractions of a day, which are not exact.
        seconds = round(float(text) * 86_400)
        return Time(_EXCEL_DAY_0 + timedelta(seconds=seconds), date_only=seconds % 86_400 == 0)
    match = _WRITTEN.fullmatch(text) or _RUN_TOGETHER.fullmatch(text)
    if match is None:
        return None
    fields = match.groupdict()
    moment = datetime(
        int(fields["year"]),
        int(fields["month"] or 1),
        int(fields["day"] or 1),
        int(fields["hour"] or 0),
        int(fields["minute"] or 0),
        int(fields["second"] or 0),
        tzinfo=_zone(fields["zone"]),
    )
    # Raises near the ends of the calendar, where the moment does not exist in UTC.
    _utc(moment)
    return Time(moment, date_only=fields["hour"] is None)


def _zone(text: str | None) -> timezone:
    if not text:
        return CHINA
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:].strip(":") or 0))
    return timezone(-offset if text[0] == "-" else offset)


def _utc(moment: datetime) -> datetime:
    """Return a moment in UTC without its zone, as numpy needs it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
