"""One clock for all: times as people and programs write them; without a zone they are China's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: China has had one time zone, without summer time, since 1992.
CHINA = timezone(timedelta(hours=8))

_CLOCK = (
    r"(?P<hour>\d{1,2})[:：时](?P<minute>\d{1,2})(?:[:：分](?P<second>\d{1,2})(?:\.\d+)?)?[分秒]?"
    r"(?: ?(?P<zone>Z|[+-]\d\d:?(?:\d\d)?))?"
)
# A clock follows only a day.
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
    """A moment with its offset; ``date_only`` where no clock was given, so that it is midnight."""

    moment: datetime
    date_only: bool


def read_time(value: Any) -> Time | None:  # noqa: ANN401
    """Return the time that a cell holds, or ``None`` where it holds none.

    That is a date or time of a typed column; text with year, month and day in this order, apart by
    ``-``, ``/``, ``.`` or 年月日, or run together in 8, 12 or 14 digits; seconds (10 digits) or
    milliseconds (13) since 1970; a serial date of Excel (5 digits). What is missing of day, month
    and clock counts as the first moment of what is named. A time without a zone is China's.
    """
    try:
        if isinstance(value, datetime):
            return Time(value if value.tzinfo else value.replace(tzinfo=CHINA), date_only=False)
        if isinstance(value, date):
            midnight = datetime(value.year, value.month, value.day, tzinfo=CHINA)
            return Time(midnight, date_only=True)
        return _parse(" ".join(_digits(value).split()))
    except (ValueError, OverflowError, OSError):
        return None


def parse_times(times: Iterable[str | None]) -> NDArray[np.datetime64]:
    """Return the moment that each text names, in UTC, "not a time" where it names none."""
    read = map(read_time, times)
    moments = (None if time is None else _utc(time.moment) for time in read)
    return np.fromiter((np.datetime64(one, "s") for one in moments), dtype="datetime64[s]")


def with_offset(text: str | None) -> str | None:
    """Return a time in ISO 8601 with its offset; a text that names no time stays as it is."""
    time = read_time(text)
    return text if time is None else time.moment.isoformat()


def _digits(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, (str, int, float)) else ""


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
    given = match.groupdict()
    moment = datetime(
        int(given["year"]),
        int(given["month"] or 1),
        int(given["day"] or 1),
        int(given["hour"] or 0),
        int(given["minute"] or 0),
        int(given["second"] or 0),
        tzinfo=_zone(given["zone"]),
    )
    # Near the ends of the calendar a moment may have no counterpart in UTC.
    _utc(moment)
    return Time(moment, date_only=given["hour"] is None)


def _zone(text: str | None) -> timezone:
    if not text:
        return CHINA
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:].strip(":") or 0))
    return timezone(-offset if text[0] == "-" else offset)


def _utc(moment: datetime) -> datetime:
    """Return a moment in UTC, without its zone, as numpy has it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
