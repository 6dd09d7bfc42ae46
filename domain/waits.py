"""How long an unknown outcome is pursued: one value, part of every workflow's input.

Re-sending the same key is safe only inside the gateway's key window (PortOne 3 h, Stripe 24 h,
Toss 15 days); 15 minutes is below all of them. After that only inquiries are made.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Waits:
    """Every wait on a gateway."""

    resend_window: timedelta = 15 * _MINUTE
    ladder: tuple[timedelta, ...] = (
        2 * _SECOND,
        5 * _SECOND,
        15 * _SECOND,
        60 * _SECOND,
        5 * _MINUTE,
        15 * _MINUTE,
        1 * _HOUR,
        6 * _HOUR,
        24 * _HOUR,
    )
    not_found_after: timedelta = 10 * _MINUTE
    not_found_apart: timedelta = 60 * _SECOND
    key_window: timedelta = 24 * _HOUR
    read_timeout: timedelta = 5 * _SECOND
    """The gateway's own, never scaled: how long one call may take."""

    def scaled(self, factor: float) -> "Waits":
        """The same waits, `factor` times shorter: for tests and demos with a scaled simulator."""
        return replace(
            self,
            resend_window=self.resend_window / factor,
            ladder=tuple(step / factor for step in self.ladder),
            not_found_after=self.not_found_after / factor,
            not_found_apart=self.not_found_apart / factor,
            key_window=self.key_window / factor,
        )

    def step(self, tries: int) -> timedelta:
        """The pause after the `tries`-th try (from 0); the last step repeats."""
        return self.ladder[min(tries, len(self.ladder) - 1)]

    def not_found_counts(self, since_last_send: timedelta) -> bool:
        """Whether the gateway's "not found" may be believed: nothing can still be under way."""
        return since_last_send >= max(self.not_found_after, self.read_timeout)


class Ladder:
    """Where one pursuit stands on the ladder. A hint makes it ask within a step, and the step goes
    on: if hints were steps, so many of them while a gateway is down would end in a pause of a day,
    or with a person."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._taken = 0
        self._ends_at: datetime | None = None

    def left(self, now: datetime) -> timedelta:
        """What is left of the step that is under way, or all of the next one."""
        if self._ends_at is None or self._ends_at <= now:
            self._ends_at = now + self._waits.step(self._taken)
            self._taken += 1
        return self._ends_at - now

    def is_over(self, now: datetime) -> bool:
        """Whether its last step has been waited for."""
        waited = self._ends_at is not None and self._ends_at <= now
        return waited and self._taken >= len(self._waits.ladder)
