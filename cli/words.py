"""How operators' commands say things."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from api.fields import MAX_REASON
from cli.refused import Refused

_console = Console()
_remarks = Console(stderr=True)

STATUS = {
    "PENDING": "under way",
    "UNKNOWN": "the gateway's outcome is being found out; everything stays held",
    "NEEDS_REVIEW": "only a person may decide; everything stays held",
    "COMPLETED": "done",
    "FAILED": "nothing was taken",
    "CANCELLED": "nothing was taken",
}
"""What the status of a payment means."""


def say(line: str, style: str | None = None) -> None:
    """Print a line. What others wrote is no markup of ours, no command to the terminal, and no line
    of its own; ids stay in one piece, to be copied."""
    _console.print(harmless(line), style=style, markup=False, highlight=False, soft_wrap=True)


def remark(line: str, style: str | None = "dim") -> None:
    """Say a line beside what was asked for, which alone is on standard output."""
    _remarks.print(harmless(line), style=style, markup=False, highlight=False, soft_wrap=True)


def on_a_line(text: str) -> str:
    """What others wrote, with a space for whatever would end the line."""
    return " ".join(text.split()) if not text.isprintable() else text


def harmless(text: str) -> str:
    """Without the characters that move a terminal's cursor or colour what follows; white space of
    any kind is a space."""
    return "".join(" " if each.isspace() else each for each in text if _shown(each))


def _shown(each: str) -> bool:
    return each.isprintable() or each.isspace()


def at(moment: datetime) -> str:
    """To the second; the Z is UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def reason_given(reason: str, what: str = "why") -> str:
    """The reason of a decision as it is kept; raises `Refused` for none, or for one that the API
    would refuse."""
    if not reason.strip() or len(reason) > MAX_REASON:
        raise Refused(f"Say in --reason {what}, in {MAX_REASON} characters at most.")
    return reason


def clock(moment: datetime) -> str:
    """To the second, which is as much as a person reads."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(length: timedelta) -> str:
    """`4 s`, `12 min`, `5 h`, `3 days`: as much as a person wants to know."""
    seconds = max(0, round(length.total_seconds()))
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
