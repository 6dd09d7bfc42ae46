"""A period: one calendar month in the customer's time zone.

Months begin and end here and nowhere else: whoever selects by month is given these bounds, because
two databases of time zones never agree on every clock of the world. Ours is the package `tzdata`,
of the version that is locked with the other dependencies, whatever the machine has of its own.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from domain.errors import InvalidRequest, PeriodOpen

FORM = re.compile(r"^(20[0-9]{2})-(0[1-9]|1[0-2])$")


@dataclass(frozen=True, order=True)
class Period:
    """`str()` is `YYYY-MM`."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> "Period":
        """From `YYYY-MM`, 2000 to 2099; raises `InvalidRequest`."""
        found = FORM.fullmatch(text)
        if found is None:
            raise InvalidRequest(f"A period is a month like 2026-05, not {text[:20]!r}.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def containing(cls, moment: datetime, zone: str) -> "Period":
        """The month between whose bounds this moment lies."""
        local = moment.astimezone(_zone(zone))
        named = cls(local.year, local.month)
        # A clock that is put back over midnight shows the end of a month twice.
        return named if moment.astimezone(UTC) < named.ends_at(zone) else named.next()

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def next(self) -> "Period":
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> "Period":
        return Period(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def until(self, last: "Period") -> list["Period"]:
        """This month and those after it, with the last one; none when that is before this."""
        months, month = [], self
        while month <= last:
            months.append(month)
            month = month.next()
        return months

    def starts_at(self, zone: str) -> datetime:
        """Its first moment: midnight on the first, by the clock of the zone."""
        return datetime(self.year, self.month, 1, tzinfo=_zone(zone))

    def ends_at(self, zone: str) -> datetime:
        """The first moment that is not in it any more."""
        return self.next().starts_at(zone)

    def require_over(self, now: datetime, zone: str) -> None:
        """Raise `PeriodOpen` while it lasts."""
        if now < self.ends_at(zone):
            raise PeriodOpen(f"{self} lasts until {self.ends_at(zone).isoformat()}.")


def check_zone(name: str) -> None:
    """Raise `InvalidRequest` unless this names a place of the IANA database, or UTC.

    An abbreviation is refused: `CET` is a fixed offset for some programs, Brussels for others.
    """
    _zone(name)
    if "/" not in name and name != "UTC":
        instead = _place_of(name)
        raise InvalidRequest(f"{name} is not the same clock for every program: take {instead}.")


@cache
def _zone(name: str) -> ZoneInfo:
    if name not in _names():
        raise InvalidRequest(f"{name!r} is not an IANA time zone like Asia/Seoul.")
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@cache
def _names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


_CITIES = {
    "EST5EDT": "America/New_York",
    "CST6CDT": "America/Chicago",
    "MST7MDT": "America/Denver",
    "PST8PDT": "America/Los_Angeles",
}
"""What the database itself gives no place for."""


def _place_of(abbreviation: str) -> str:
    """Which place has that clock: `L Europe/Brussels CET` in the text of the database."""
    text = files("tzdata.zoneinfo").joinpath("tzdata.zi").read_text("utf-8")
    links = [line.split() for line in text.splitlines() if line.startswith("L ")]
    places = _CITIES | {name: place for _, place, name in links}
    place = places.get(abbreviation, "UTC")
    return "UTC" if place.startswith("Etc/") else place
