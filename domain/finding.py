"""What an examination of an installation found: a sentence each, and what to do."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import takewhile

TELLS = timedelta(seconds=1)
"""Clocks that differ by more than this are worth a word."""
BELIEVED = timedelta(seconds=30)
"""Tokens of a clock that is farther off are refused."""


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """`about`: what was looked at. `says` is a sentence; `remedy`: another one that says what to
    do, None where nothing need be done."""

    verdict: Verdict
    about: str
    says: str
    remedy: str | None = None


def ok(about: str, says: str) -> Finding:
    return Finding(Verdict.OK, about, says)


def warning(about: str, says: str, remedy: str) -> Finding:
    return Finding(Verdict.WARNING, about, says, remedy)


def wrong(about: str, says: str, remedy: str) -> Finding:
    return Finding(Verdict.WRONG, about, says, remedy)


def version(about: str, name: str, found: str, least: str) -> Finding:
    """Whether a server is as new as it must be: as `7.2.4` is for `7`."""
    if numbers(found) >= numbers(least):
        return ok(about, f"{name} {found}; {least} or later is needed.")
    return wrong(
        about,
        f"{name} is {found}; {least} or later is needed.",
        f"Install {name} {least} or later.",
    )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: `18beta1` is 18."""
    begin = "".join(takewhile("0123456789.".__contains__, version))
    return tuple(int(number) for number in begin.split(".") if number)


def clock(about: str, ahead: timedelta) -> Finding:
    """Whether the clock of a server is that of this machine; `ahead` may be negative."""
    off = abs(ahead)
    if off <= TELLS:
        return ok(about, "Its clock and that of this machine agree to a second.")
    way = "ahead of" if ahead > timedelta(0) else "behind"
    says = f"Its clock is {off.total_seconds():,.0f} s {way} that of this machine."
    remedy = "Have both set their clocks by NTP."
    return warning(about, says, remedy) if off <= BELIEVED else wrong(about, says, remedy)
