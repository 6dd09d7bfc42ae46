"""Is anything wrong now: what each part of an installation says of itself, what waits, and what of
it waits for a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

AT_ONCE = timedelta(minutes=1)
"""What workers take up by themselves waits no longer than this while enough of them run."""
LOOKED_AT = timedelta(hours=2)
"""The money is looked at every hour: by then the next look has been missed."""


@dataclass(frozen=True)
class Part:
    """A server, or a duty of the workers. `version` as far as it tells; `wrong`: in words what
    keeps it from its work, None while nothing does."""

    name: str
    version: str | None = None
    wrong: str | None = None


@dataclass(frozen=True)
class TaskQueue:
    """A queue of Temporal's: who polls it, how many tasks wait there, and since when."""

    name: str
    workers: tuple[str, ...]
    waiting: int
    oldest_seconds: float


@dataclass(frozen=True)
class Pile:
    """What waits, and the command that shows it. `for_a_person`: it goes on waiting until somebody
    does something."""

    what: str
    count: int
    oldest_seconds: float | None
    look: str
    for_a_person: bool


@dataclass(frozen=True)
class Gateway:
    """A PG: what its breaker does, since when it is not well, when it is tried again, and how many
    payments and refunds wait for it. `is_down`: calls are turned away, or one at a time is let
    through to see whether it is back."""

    name: str
    state: str
    is_down: bool
    since: datetime | None
    retried_at: datetime | None
    waiting: int


@dataclass(frozen=True)
class LastLook:
    """What the last verification came to: how often what must be true was not."""

    at: datetime
    violations: int


@dataclass(frozen=True)
class Status:
    """One moment. `at`, and what waits, are unknown while the database does not answer; `money`
    while nobody has looked yet, or Temporal does not say."""

    at: datetime | None
    parts: tuple[Part, ...]
    queues: tuple[TaskQueue, ...]
    gateways: tuple[Gateway, ...]
    piles: tuple[Pile, ...]
    money: LastLook | None


def for_a_person(status: Status) -> tuple[str, ...]:
    """What somebody should do something about, a sentence each; nothing when all is well."""
    return (*_parts(status), *_queues(status), *_gateways(status), *_piles(status), *_money(status))


def _parts(status: Status) -> Iterator[str]:
    for part in status.parts:
        if part.wrong is not None:
            yield f"{part.name}: {part.wrong}."


def _queues(status: Status) -> Iterator[str]:
    for queue in status.queues:
        if not queue.workers:
            yield f"Nobody polls the task queue {queue.name}: start a worker."
        elif queue.oldest_seconds > AT_ONCE.total_seconds():
            yield (
                f"The task queue {queue.name} is behind: {queue.waiting:,} wait, the oldest for "
                f"{queue.oldest_seconds:,.0f} s. Start more workers, or see why these do not work."
            )


def _gateways(status: Status) -> Iterator[str]:
    for gateway in status.gateways:
        if gateway.is_down:
            since = "" if gateway.since is None else f" since {gateway.since:%Y-%m-%d %H:%M} UTC"
            yield (
                f"The PG {gateway.name} is down{since}: {gateway.waiting:,} wait for it, and go on "
                "by themselves when it is back. See `billing gateway list`."
            )


def _piles(status: Status) -> Iterator[str]:
    for pile in status.piles:
        if pile.for_a_person and pile.count:
            yield f"{pile.what}: {pile.count:,}. See `{pile.look}`."


def _money(status: Status) -> Iterator[str]:
    if status.money is None:
        return
    if status.money.violations:
        yield (
            "The money is not right: the last look found violations of what must be true, "
            f"{status.money.violations:,} in all. See `billing verify`."
        )
    if status.at is not None and status.at - status.money.at > LOOKED_AT:
        yield (
            f"Nobody has looked at the money since {status.money.at:%Y-%m-%d %H:%M} UTC: see the "
            "Schedule hourly-verification, and `billing verify`."
        )
