"""A period: one calendar month in the customer's time zone."""

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
        """The month in which this moment lies on a clock of that zone."""
        local = moment.astimezone(ZoneInfo(zone))
        return cls(local.year, local.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def next(self) -> "Period":
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> "Period":
        return Period(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def starts_at(self, zone: str) -> datetime:
        """Its first moment: midnight on the first, by the clock of the zone."""
        return datetime(self.year, self.month, 1, tzinfo=ZoneInfo(zone))

    def ends_at(self, zone: str) -> datetime:
        """The first moment that is not in it any more."""
        return self.next().starts_at(zone)

    def require_over(self, now: datetime, zone: str) -> None:
        """Raise `PeriodOpen` while it lasts."""
        if now < self.ends_at(zone):
            raise PeriodOpen(f"{self} lasts until {self.ends_at(zone).isoformat()}.")


def check_zone(name: str) -> None:
    """Raise `InvalidRequest` unless this is a zone of the IANA database."""
    try:
        # Not zones but files beside them: the clock of one machine, and clocks with leap seconds.
        if name.partition("/")[0] in ("localtime", "posix", "posixrules", "right"):
            raise ZoneInfoNotFoundError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(f"{name!r} is not an IANA time zone like Asia/Seoul.") from error
