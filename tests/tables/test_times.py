"""One clock: what is read as a time, and in which zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from smstune.tables.times import CHINA, parse_times, read_time, with_offset


def china(*parts):
    return datetime(*parts, tzinfo=CHINA)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2010/11", china(2010, 11, 1)),
        ("2010.11.02", china(2010, 11, 2)),
        ("2015-03-09 11:38", china(2015, 3, 9, 11, 38)),
        ("\xa02015.3.9\xa09:08:07\xa0", china(2015, 3, 9, 9, 8, 7)),
        ("2010.11.0212:30", china(2010, 11, 2, 12, 30)),
        ("2015-03-09T11:38:05.123+08:00", china(2015, 3, 9, 11, 38, 5)),
        ("2015-03-09T11:38:05-0130", datetime(2015, 3, 9, 13, 8, 5, tzinfo=UTC)),
        ("2015-03-09 11:38:00Z", datetime(2015, 3, 9, 11, 38, tzinfo=UTC)),
        ("2015年3月9日 11时38分", china(2015, 3, 9, 11, 38)),
        ("2015年3月9日11时38分05秒", china(2015, 3, 9, 11, 38, 5)),
        ("2015年3月", china(2015, 3, 1)),
        ("2015", china(2015, 1, 1)),
        ("20150309", china(2015, 3, 9)),
        ("20150309113805", china(2015, 3, 9, 11, 38, 5)),
        ("1425872280", china(2015, 3, 9, 11, 38)),
        ("1425872280000", china(2015, 3, 9, 11, 38)),
        (1425872280, china(2015, 3, 9, 11, 38)),
        (1425872280.0, china(2015, 3, 9, 11, 38)),
        ("42072", china(2015, 3, 9)),
        (42072.484722222225, china(2015, 3, 9, 11, 38)),
        (datetime(2015, 3, 9, 11, 38), china(2015, 3, 9, 11, 38)),
        (datetime(2015, 3, 9, 3, 38, tzinfo=UTC), china(2015, 3, 9, 11, 38)),
        (date(2015, 3, 9), china(2015, 3, 9)),
    ],
)
def test_times_of_any_precision_are_read_in_china_s_zone_unless_they_name_another(value, expected):
    assert read_time(value).moment == expected


@pytest.mark.parametrize(
    "value",
    [
        "unknown", "", None, "09/03/2015", "2015-13-01", "2015-02-30", "0000", "2015.113",
        "2015-03-09 25:00", "2010.11.0212:30不", "0001-01-01 00:00+08:00", "明天", 1e300, True,
        float("nan"), "2015年12:30", "123456",
    ],
)  # fmt: skip
def test_what_is_no_time_is_missing(value):
    assert read_time(value) is None


def test_dates_without_a_clock_say_so():
    alone = ("2015-03-09", "20150309", "42072", date(2015, 3, 9), "2015")
    assert all(read_time(value).date_only for value in alone)
    clocked = ("2015-03-09 00:00", "20150309000000", "42072.5", "1425872280")
    assert not any(read_time(value).date_only for value in clocked)


def test_a_time_is_stored_with_its_offset_and_other_text_as_it_is():
    assert with_offset("2015/3/9 9:05") == "2015-03-09T09:05:00+08:00"
    assert with_offset("2015-03-09T09:05:00-01:30") == "2015-03-09T09:05:00-01:30"
    assert with_offset("unknown") == "unknown"
    assert with_offset(None) is None
    # What is stored reads as what was given.
    zone = timezone(timedelta(hours=-1, minutes=-30))
    again = read_time(with_offset("2015-03-09T09:05:00-01:30")).moment
    assert again == datetime(2015, 3, 9, 9, 5, tzinfo=zone)


def test_moments_of_different_zones_are_compared_in_one():
    local, same, later = parse_times(["2015-03-09 11:38", "2015-03-09T03:38Z", "2015-03-09T04:00Z"])
    assert local == same == np.datetime64("2015-03-09T03:38")
    assert later > local
