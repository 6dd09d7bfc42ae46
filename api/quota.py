"""How much somebody has asked for lately: counted in Valkey/Redis for all processes together.

To ask it for every request would cost more than the request: a process takes a few units of a quota
in advance, a lease, and spends them without asking. All that is leased is counted, so a quota is
never exceeded; a caller is refused too early by what other processes have leased and not spent, at
most one part of `LARGEST_LEASE` of the quota each. While Valkey is away each process counts for
itself: a limit must not be a second outage.
"""

import asyncio
import time
from dataclasses import dataclass, field
from math import ceil
from typing import cast

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import QuotaExceeded
from domain.quota import Quota, Windows

LEASE_SECONDS = 5.0
"""How long a lease may be spent: later it would be a burst that no window counts."""
SHUT_SECONDS = 1.0
"""For how long at most a refusal is given again without asking."""
AWAY_SECONDS = 1.0
"""How long Valkey is left alone after it did not answer."""
ASK_AT_ONCE = 50
"""Questions to Valkey under way, less than the connections that its client has at most: one more
would be an error that looks as if Valkey were away."""
MOST_LEASES = 10_000

_AWAY = (RedisError, OSError)


@dataclass(frozen=True)
class Standing:
    """What is left of a quota, as far as this process knows."""

    quota: Quota
    remaining: int
    resets_in: int


class Exceeded(QuotaExceeded):
    """429 with what was exceeded and when to come back."""

    def __init__(self, quota: Quota, wait: float) -> None:
        seconds = max(1, ceil(wait))
        super().__init__(
            f"The quota {quota.name!r} of {quota.units:,} units in {quota.seconds} s is used up: "
            f"send the same request again in {seconds} s."
        )
        self.quota = quota
        self.headers = {
            "Retry-After": str(seconds),
            "RateLimit-Policy": policy(quota),
            "RateLimit": f'"{quota.name}";r=0;t={seconds}',
        }


def policy(quota: Quota) -> str:
    """As the header `RateLimit-Policy` says it."""
    return f'"{quota.name}";q={quota.units};w={quota.seconds}'


class Counters:
    """Counts of this process and of all processes."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="quota",
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
        )
        self._shared = _Counter(storage)
        self._own = _Counter(MemoryStorage())
        self._places = asyncio.Semaphore(ASK_AT_ONCE)
        self._away_until = 0.0

    async def take(
        self, quota: Quota, subject: str, amounts: tuple[int, ...]
    ) -> tuple[int, Windows]:
        """The first of these amounts that is there, or 0; and how it stands then."""
        async with self._places:
            # Whoever has waited behind one that got no answer does not wait for one of its own.
            if time.monotonic() >= self._away_until:
                try:
                    return await self._shared.take(quota, subject, amounts)
                except _AWAY:
                    self._away_until = time.monotonic() + AWAY_SECONDS
        return await self._own.take(quota, subject, amounts)

    async def close(self) -> None:
        await self._shared.close()


class _Counter:
    """Counts in one place."""

    def __init__(self, storage: RedisStorage | MemoryStorage) -> None:
        self._storage = storage
        self._windows = SlidingWindowCounterRateLimiter(storage)

    async def take(
        self, quota: Quota, subject: str, amounts: tuple[int, ...]
    ) -> tuple[int, Windows]:
        item = _item(quota)
        taken = 0
        for amount in dict.fromkeys(amounts):
            if await self._windows.hit(item, subject, cost=amount):
                taken = amount
                break
        window = await self._storage.get_sliding_window(item.key_for(subject), quota.seconds)
        return taken, Windows(*window)

    async def close(self) -> None:
        if isinstance(self._storage, RedisStorage):
            assert isinstance(self._storage.bridge, RedispyBridge)
            await cast(Redis, self._storage.bridge.get_connection()).aclose()


def _item(quota: Quota) -> RateLimitItem:
    return RateLimitItemPerSecond(quota.units, quota.seconds, quota.name)


@dataclass
class _Lease:
    """What this process may spend for somebody without asking."""

    size: int = 0
    left: int = 0
    until: float = 0.0
    remaining: int = 0
    resets_at: float = 0.0
    shut_for: int = 0
    shut_until: float = 0.0
    opens_at: float = 0.0
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def covers(self, cost: int, now: float) -> bool:
        return self.left >= cost and now < self.until

    def is_shut(self, cost: int, now: float) -> bool:
        return cost >= self.shut_for and now < self.shut_until


class Limiter:
    """One quota, for each subject."""

    def __init__(
        self, counters: Counters, quota: Quota, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.quota = quota
        self._counters = counters
        self._lease_seconds = lease_seconds
        self._leases: dict[str, _Lease] = {}

    async def spend(self, subject: str, cost: int) -> Standing:
        """Raises `Exceeded` where so much is not left."""
        lease = self._lease(subject)
        if lease.covers(cost, time.monotonic()):
            return self._spent(lease, cost)
        # One asks for all that wait.
        async with lease.renewing:
            if not lease.covers(cost, time.monotonic()):
                await self._renew(lease, subject, cost)
            return self._spent(lease, cost)

    def give_back(self, subject: str, units: int) -> None:
        """What a request did not take after all; spent by the next one, if it comes soon."""
        self._lease(subject).left += units

    def _lease(self, subject: str) -> _Lease:
        lease = self._leases.get(subject)
        if lease is None:
            if len(self._leases) >= MOST_LEASES:
                del self._leases[next(iter(self._leases))]
            lease = self._leases[subject] = _Lease()
        return lease

    def _spent(self, lease: _Lease, cost: int) -> Standing:
        lease.left -= cost
        resets_in = max(0, ceil(lease.resets_at - time.monotonic()))
        return Standing(self.quota, lease.remaining + lease.left, resets_in)

    async def _renew(self, lease: _Lease, subject: str, cost: int) -> None:
        now = time.monotonic()
        if lease.is_shut(cost, now):
            raise Exceeded(self.quota, lease.opens_at - now)
        if now >= lease.until:
            # What is left of a lease that is over is lost.
            lease.left = lease.size = 0
        missing = cost - lease.left
        size = self.quota.next_lease(lease.size, missing)
        taken, windows = await self._counters.take(self.quota, subject, (size, missing))
        now = time.monotonic()
        lease.remaining = windows.remaining(self.quota)
        lease.resets_at = now + windows.resets_in(self.quota)
        if not taken:
            wait = windows.wait(self.quota, missing)
            lease.shut_for, lease.opens_at = cost, now + wait
            lease.shut_until = now + min(wait, SHUT_SECONDS)
            raise Exceeded(self.quota, wait)
        lease.left += taken
        lease.size, lease.until = taken, now + self._lease_seconds
