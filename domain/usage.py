"""Usage: what customers consumed. An event counts once, whatever path it came by."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from domain.errors import (
    NotFound,
    Rejected,
    UsageConflict,
    UsageInFuture,
    UsageTooOld,
)
from domain.period import Period

AHEAD = timedelta(hours=1)
"""How far ahead of our clock an event may have happened."""

LATE = timedelta(days=396)
"""How late usage may arrive: 13 months. Configurable (`USAGE_LATE_DAYS`)."""

MAX_QUANTITY = Decimal(10) ** 15
"""A quantity is below it; with six decimals, so that a month's sum fits its column by far."""

MAX_BATCH = 1_000
"""Events that one call may bring."""

Identity = tuple[str, str]
"""(customer id, event id)"""


@dataclass(frozen=True)
class UsageEvent:
    """Identity is (customer_id, event_id)."""

    customer_id: str
    event_id: str
    resource_type: str
    quantity: Decimal
    occurred_at: datetime

    @property
    def identity(self) -> Identity:
        return self.customer_id, self.event_id

    @cached_property
    def payload_hash(self) -> bytes:
        """SHA-256 of what the event says, not of how it was written: `1.50` is `1.5`, and a moment
        is the same in every offset."""
        occurred_at = self.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
        payload = f"{self.resource_type}\n{self.quantity:.6f}\n{occurred_at}"
        return hashlib.sha256(payload.encode()).digest()


@dataclass(frozen=True)
class CountedEvent(UsageEvent):
    """An event as it is kept. `invoice_id`: of the invoice or draft that has it."""

    id: int
    received_at: datetime
    invoice_id: str | None
    void_reason: str | None


@dataclass(frozen=True)
class Wanted:
    """Which events somebody looks for; what is None does not matter. They happened in `period`, by
    the clock of whoever they are of, and from `since` until before `until`."""

    customer_id: str | None = None
    invoice_id: str | None = None
    resource_type: str | None = None
    voided: bool | None = None
    period: Period | None = None
    since: datetime | None = None
    until: datetime | None = None

    def by(self, zone: str) -> "Wanted":
        """With the bounds of that month by this clock."""
        if self.period is None:
            return self
        begins, ends = self.period.starts_at(zone), self.period.ends_at(zone)
        since = begins if self.since is None else max(begins, self.since)
        until = ends if self.until is None else min(ends, self.until)
        return replace(self, since=since, until=until)


@dataclass(frozen=True)
class UsedBefore:
    """A resource in the months before one: the mean of those that have it, and the last of them."""

    resource_type: str
    mean: Decimal
    last_month: str


@dataclass(frozen=True)
class Aggregate:
    """A customer's events of one resource and month that one invoice has claimed.

    `digest` is the SHA-256 (hex) of the event ids in byte order, each followed by a line feed.
    """

    resource_type: str
    period: Period
    quantity: Decimal
    events: int
    first_at: datetime
    last_at: datetime
    digest: str


class Outcome(StrEnum):
    ACCEPTED = "ACCEPTED"
    """Counted now."""
    DUPLICATE = "DUPLICATE"
    """Counted before, with the same content."""
    CONFLICT = "CONFLICT"
    """Counted before, with another content: what was counted stays."""
    REFUSED = "REFUSED"
    """Not counted."""


@dataclass(frozen=True)
class Receipt:
    """What became of an event. CONFLICT and REFUSED say why."""

    event_id: str | None
    outcome: Outcome
    refusal: Rejected | None = None


def refused(event_id: str | None, refusal: Rejected) -> Receipt:
    """The receipt of an event that is not counted."""
    conflict = isinstance(refusal, UsageConflict)
    return Receipt(event_id, Outcome.CONFLICT if conflict else Outcome.REFUSED, refusal)


def receipts(
    events: Sequence[UsageEvent], fresh: Collection[Identity], stored: Mapping[Identity, bytes]
) -> list[Receipt]:
    """What became of each event, in order.

    `fresh` are the identities that were taken just now, each by the first event that bears it;
    `stored` the payload hashes of those that were known. What is in neither has no customer.
    """
    hashes, uncounted = dict(stored), set(fresh)
    found = []
    for event in events:
        if event.identity in uncounted:
            uncounted.remove(event.identity)
            hashes[event.identity] = event.payload_hash
            found.append(Receipt(event.event_id, Outcome.ACCEPTED))
        else:
            found.append(_repeated(event, hashes.get(event.identity)))
    return found


def _repeated(event: UsageEvent, before: bytes | None) -> Receipt:
    if before is None:
        return refused(event.event_id, NotFound(f"There is no customer {event.customer_id}."))
    if before != event.payload_hash:
        sentence = f"Event {event.event_id} was counted with another content, which stays."
        return refused(event.event_id, UsageConflict(sentence))
    return Receipt(event.event_id, Outcome.DUPLICATE)


def untimely(event: UsageEvent, now: datetime, late: timedelta) -> Receipt | None:
    """The receipt of an event that is too old, or has not happened yet; else None."""
    try:
        check_time(event.occurred_at, now, late)
    except Rejected as refusal:
        return refused(event.event_id, refusal)
    return None


def check_time(occurred_at: datetime, now: datetime, late: timedelta = LATE) -> None:
    """Raise `UsageInFuture` or `UsageTooOld`; never asks whether a month is closed."""
    if occurred_at > now + AHEAD:
        raise UsageInFuture(f"It happened at {occurred_at.isoformat()}, which has not come yet.")
    if occurred_at < now - late:
        raise UsageTooOld(f"It happened more than {late.days} days ago.")
