"""How a payment gateway (PG) does, as our workers see it, and what waits for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.workflow_id import payment_workflow_id, refund_workflow_id

FIRST_CALL = timedelta(seconds=5)
"""What is pending for longer has been with its PG once, and waits."""

HINTS_A_SECOND = 20
"""So many that wait for a PG ask it in a second when it is back. They come beside new payments: a
PG that takes three seconds for an answer has 60 of them in hand, less than the 64 calls that one
worker makes at a time, and Temporal is left more than half of what two cores do."""


class BreakerState(StrEnum):
    """What a circuit breaker does with calls."""

    CLOSED = "CLOSED"
    """They go through."""
    HALF_OPEN = "HALF_OPEN"
    """One at a time goes through, to see whether the PG is back."""
    OPEN = "OPEN"
    """They are turned away."""
    UNKNOWN = "UNKNOWN"
    """No worker says."""


_WORST_FIRST = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)


@dataclass(frozen=True)
class Health:
    """What one worker sees of a PG. How long instead of since when, in seconds: workers share no
    clock.

    `unwell_for`: since its breaker was closed. `retried_in`: until it lets a call through.
    `failing_for`: since calls fail one after the other. `under_way`: calls without an answer yet.
    `calls`: how many of the last minutes ended how. `p50` and `p95`: what those took that left us.
    """

    state: BreakerState
    unwell_for: float | None = None
    retried_in: float | None = None
    failing_for: float | None = None
    under_way: int = 0
    calls: Mapping[str, int] | None = None
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True)
class Reported:
    """What a worker said of a PG, so many seconds ago."""

    worker: str
    health: Health
    age: float


@dataclass(frozen=True)
class Seen:
    """The same, by the clock of the database."""

    worker: str
    state: BreakerState
    since: datetime | None
    retried_at: datetime | None
    failing_since: datetime | None
    reported_at: datetime
    under_way: int
    calls: Mapping[str, int]
    p50: float | None
    p95: float | None


def seen(reported: Reported, now: datetime) -> Seen:
    """When it was and will be what a worker has told in lengths."""
    health, at = reported.health, now - timedelta(seconds=reported.age)
    return Seen(
        worker=reported.worker,
        state=health.state,
        since=_moment(at, health.unwell_for, -1),
        retried_at=_moment(at, health.retried_in, +1),
        failing_since=_moment(at, health.failing_for, -1),
        reported_at=at,
        under_way=health.under_way,
        calls=health.calls or {},
        p50=health.p50,
        p95=health.p95,
    )


def _moment(at: datetime, seconds: float | None, sign: int) -> datetime | None:
    return None if seconds is None else at + sign * timedelta(seconds=seconds)


class Kind(StrEnum):
    """What waits for a PG."""

    PAYMENT = "payment"
    REFUND = "refund"
    WATCH = "watch"
    """A payment that has ended: it is asked whether it was taken late."""


@dataclass(frozen=True)
class Waiting:
    """Something whose workflow asks the PG again later. `id` is a refund's, or else a payment's."""

    kind: Kind
    id: str

    @property
    def workflow_id(self) -> str:
        if self.kind is Kind.REFUND:
            return refund_workflow_id(self.id)
        return payment_workflow_id(self.id)


@dataclass(frozen=True)
class Queue:
    """What waits for a PG; `since`: the payment or refund that was made first, without watches."""

    payments: int = 0
    refunds: int = 0
    watches: int = 0
    since: datetime | None = None


@dataclass(frozen=True)
class Standing:
    """How a PG does, as far as workers have said so lately."""

    name: str
    workers: Sequence[Seen]
    queue: Queue

    @property
    def state(self) -> BreakerState:
        """The worst that a worker says. Nobody says that nobody's breaker is open: where no worker
        speaks it is not known."""
        states = {each.state for each in self.workers}
        return next((each for each in _WORST_FIRST if each in states), BreakerState.UNKNOWN)

    @property
    def since(self) -> datetime | None:
        """Since when no call goes through as usual, by the worker that noticed first."""
        return min((each.since for each in self.workers if each.since), default=None)

    @property
    def retried_at(self) -> datetime | None:
        """When the next call is let through, by any worker."""
        return min((each.retried_at for each in self.workers if each.retried_at), default=None)

    @property
    def failing_since(self) -> datetime | None:
        """Since when a worker gets no answer, whether its breaker has opened or not."""
        return min(
            (each.failing_since for each in self.workers if each.failing_since), default=None
        )


@dataclass(frozen=True)
class HurryRequest:
    """Hint whoever waits for this PG. `after`: the last one that was hinted. `again`: all of them
    once more, when this is done. `per_execution`: as many as one history holds well."""

    gateway: str
    after: str | None = None
    again: bool = False
    per_execution: int = 1_000


@dataclass(frozen=True)
class HurryPage:
    """Who is next."""

    workflow_ids: tuple[str, ...] = ()
    last: str | None = None
    """None when nobody comes after them."""
