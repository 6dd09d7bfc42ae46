"""Months on the clocks of the world."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest, PeriodOpen
from domain.period import Period, check_zone
from tests.support.zones import pinned

ZONES = ("UTC", "Asia/Seoul", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia")
FILES = ("localtime", "right/UTC", "posix/UTC", "posixrules")
ABBREVIATIONS = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "MET": "Europe/Brussels",
    "WET": "Europe/Lisbon",
    "EST": "America/Panama",
    "MST": "America/Phoenix",
    "HST": "Pacific/Honolulu",
    "EST5EDT": "America/New_York",
    "CST6CDT": "America/Chicago",
    "MST7MDT": "America/Denver",
    "PST8PDT": "America/Los_Angeles",
    "Japan": "Asia/Tokyo",
    "GMT": "UTC",
    "Zulu": "UTC",
    "Factory": "UTC",
}
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
    assert aware.astimezone(pinned(zone)).month == period.month


@pytest.fixture
def another_machine(tmp_path: Path) -> Iterator[None]:
    """Whose zone data say that Chagos has the clock of New York."""
    chagos = tmp_path / "Indian" / "Chagos"
    chagos.parent.mkdir()
    chagos.write_bytes(files("tzdata.zoneinfo").joinpath("America/New_York").read_bytes())
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


@pytest.mark.usefixtures("another_machine")
def test_a_month_is_the_same_whatever_zone_data_a_machine_has() -> None:
    begins = datetime(2026, 4, 30, 18, tzinfo=UTC)
    assert begins.astimezone(zoneinfo.ZoneInfo("Indian/Chagos")).hour == 14

    assert Period(2026, 5).starts_at("Indian/Chagos") == begins


def test_an_hour_that_comes_twice_around_midnight_is_in_the_month_that_has_begun() -> None:
    """St. John's put its clock back at 00:01 of the first: then it was October again."""
    zone, november = "America/St_Johns", Period(2009, 11)
    begins = november.starts_at(zone).astimezone(UTC)
    again = begins + timedelta(minutes=30)
    assert again.astimezone(pinned(zone)).month == 10

    assert Period.containing(again, zone) == november
    assert Period.containing(begins - timedelta(microseconds=1), zone) == Period(2009, 10)


def test_the_months_from_one_to_another() -> None:
    assert Period(2026, 11).until(Period(2027, 1)) == [
        Period(2026, 11),
        Period(2026, 12),
        Period(2027, 1),
    ]
    assert Period(2026, 11).until(Period(2026, 10)) == []


@pytest.mark.parametrize(
    "zone", ["", "Asia/Pyongyong", "../../etc/passwd", "a\x00b", "/UTC", *FILES]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequest):
        check_zone(zone)


@pytest.mark.parametrize(("zone", "instead"), ABBREVIATIONS.items())
def test_an_abbreviation_is_refused_and_a_city_named_instead(zone: str, instead: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_zone(zone)

    assert str(refusal.value).endswith(f"take {instead}.")


def test_whoever_has_an_abbreviation_already_is_still_billed_by_it() -> None:
    """Brussels has that clock."""
    september = Period(2026, 9)

    assert september.starts_at("CET") == september.starts_at("Europe/Brussels")


def test_a_zone_that_the_data_have_not_is_refused_wherever_it_is_met() -> None:
    with pytest.raises(InvalidRequest):
        Period(2026, 5).starts_at("Mars/Olympus")


@pytest.mark.parametrize("zone", [*ZONES, "Etc/GMT+12"])
def test_zones_of_the_iana_database_are_taken(zone: str) -> None:
    check_zone(zone)
