"""Months on the clocks of the world."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest, PeriodOpen
from domain.period import Period, check_zone

ZONES = ("UTC", "Asia/Seoul", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia")
FILES = ("localtime", "right/UTC", "posix/UTC", "posixrules")
zones = st.sampled_from(ZONES)
periods = st.builds(Period, st.integers(2000, 2098), st.integers(1, 12))


def test_a_month_is_written_as_it_is_read() -> None:
    assert str(Period.parse("2026-05")) == "2026-05"


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-5", "2026-00", "2026-13", "1999-12", "2100-01", "2026-05\n", "٢٠٢٦-05"],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Period.parse(text)


def test_a_month_in_seoul_begins_nine_hours_before_that_of_utc() -> None:
    may = Period(2026, 5)

    assert may.starts_at("Asia/Seoul") == datetime(2026, 4, 30, 15, tzinfo=UTC)
    assert may.ends_at("Asia/Seoul") == datetime(2026, 5, 31, 15, tzinfo=UTC)


def test_one_moment_is_in_two_months() -> None:
    moment = datetime(2026, 4, 30, 15, tzinfo=UTC)

    assert Period.containing(moment, "UTC") == Period(2026, 4)
    assert Period.containing(moment, "Asia/Seoul") == Period(2026, 5)
    before = moment - timedelta(microseconds=1)
    assert Period.containing(before, "Asia/Seoul") == Period(2026, 4)


@pytest.mark.parametrize(("year", "days"), [(2023, 28), (2024, 29), (2000, 29), (2100, 28)])
def test_february_knows_leap_years(year: int, days: int) -> None:
    february = Period(year, 2)

    assert february.ends_at("UTC") - february.starts_at("UTC") == timedelta(days=days)


@pytest.mark.parametrize(("month", "hours"), [(3, 31 * 24 - 1), (11, 30 * 24 + 1), (5, 31 * 24)])
def test_a_month_in_which_clocks_change_has_an_hour_less_or_more(month: int, hours: int) -> None:
    period = Period(2026, month)
    starts, ends = (
        moment.astimezone(UTC)
        for moment in (period.starts_at("America/New_York"), period.ends_at("America/New_York"))
    )

    assert ends - starts == timedelta(hours=hours)


def test_a_month_is_open_up_to_its_last_moment() -> None:
    may = Period(2026, 5)
    end = datetime(2026, 5, 31, 15, tzinfo=UTC)

    with pytest.raises(PeriodOpen):
        may.require_over(end - timedelta(microseconds=1), "Asia/Seoul")
    may.require_over(end, "Asia/Seoul")
    with pytest.raises(PeriodOpen):
        may.require_over(end, "UTC")


@given(periods, zones)
def test_months_follow_each_other_without_a_gap(period: Period, zone: str) -> None:
    assert period.next().previous() == period
    assert period < period.next()
    assert period.ends_at(zone) == period.next().starts_at(zone)


@given(st.integers(0, 98 * 365 * 24 * 3600), zones)
def test_every_moment_is_in_exactly_one_month(seconds: int, zone: str) -> None:
    aware = datetime(2000, 1, 2, tzinfo=UTC) + timedelta(seconds=seconds)
    period = Period.containing(aware, zone)

    # In UTC: two moments of one zone would be compared by their clocks, without the offset.
    assert period.starts_at(zone).astimezone(UTC) <= aware < period.ends_at(zone).astimezone(UTC)
    assert aware.astimezone(ZoneInfo(zone)).month == period.month


@pytest.mark.parametrize(
    "zone", ["", "Asia/Pyongyong", "../../etc/passwd", "a\x00b", "/UTC", *FILES]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequest):
        check_zone(zone)


@pytest.mark.parametrize("zone", ZONES)
def test_zones_of_the_iana_database_are_taken(zone: str) -> None:
    check_zone(zone)
