"""How often somebody has tried to log in: counted for a name and for an address, in Redis.

An attempt counts as failed from its begin until it has succeeded, so of many at once no more are
looked at than of many one after another. Without Redis nobody can be counted, and nobody gets in.
"""

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from redis.exceptions import RedisError

from api import redis_pool
from domain.user import FORGOTTEN_AFTER, FREE_FAILURES, LOCKS

_COUNT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local free, forgotten = tonumber(ARGV[3]), tonumber(ARGV[4])

local function left(key)
    return math.max(0, tonumber(redis.call('HGET', key, 'until') or '0') - now)
end

local function count(key, by)
    redis.call('HINCRBY', key, 'by:' .. by, 1)
    local failures = redis.call('HINCRBY', key, 'failures', 1)
    local lock = 0
    if failures > free then
        lock = tonumber(ARGV[math.min(4 + failures - free, #ARGV)])
        redis.call('HSET', key, 'until', now + lock)
    end
    redis.call('PEXPIRE', key, lock + forgotten)
    return failures
end

local address = left(KEYS[2])
if address > 0 then return {address, 0, 0} end
count(KEYS[2], ARGV[1])
local account = left(KEYS[1])
if account > 0 then return {0, account, 0} end
return {0, 0, count(KEYS[1], ARGV[2])}
"""

_SUCCEED = """
redis.call('DEL', KEYS[1])
local own = tonumber(redis.call('HGET', KEYS[2], 'by:' .. ARGV[1]) or '0')
if own == 0 then return 0 end
redis.call('HDEL', KEYS[2], 'by:' .. ARGV[1])
if redis.call('HINCRBY', KEYS[2], 'failures', -own) <= tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[2], 'until')
end
return own
"""
"""What this name has failed from there is forgiven; what others have stays: who has an account
cannot go on guessing those of others by logging in between."""


class CountersDown(ConnectionError):
    """Nobody can be let in at the moment."""


@dataclass(frozen=True)
class Attempt:
    """`address_locked`, `account_locked`: for how much longer nobody is let in from there, or with
    that name. `failures`: this one included, as long as it has not succeeded."""

    name: str
    where: str
    address_locked: timedelta
    account_locked: timedelta
    failures: int


class Attempts:
    """Of everybody, whichever process they ask."""

    def __init__(self, url: str) -> None:
        self._redis = redis_pool.connect(url)
        self._count = self._redis.register_script(_COUNT)
        self._succeed = self._redis.register_script(_SUCCEED)

    async def count(self, name: str, where: str) -> Attempt:
        """Raises `CountersDown`."""
        ladder = [_milliseconds(lock) for lock in LOCKS]
        arguments = [_digest(name), _digest(where), FREE_FAILURES, _milliseconds(FORGOTTEN_AFTER)]
        found = await self._run(self._count, name, where, [*arguments, *ladder])
        address, account, failures = (int(each) for each in found)
        return Attempt(
            name,
            where,
            timedelta(milliseconds=address),
            timedelta(milliseconds=account),
            failures,
        )

    async def succeed(self, attempt: Attempt) -> None:
        """It was no failure, and those before it are forgotten. Raises `CountersDown`."""
        arguments = [_digest(attempt.name), FREE_FAILURES]
        await self._run(self._succeed, attempt.name, attempt.where, arguments)

    async def unlock(self, name: str) -> None:
        """Somebody may try again at once. Raises `CountersDown`."""
        try:
            await self._redis.delete(self.keys(name, "")[0])
        except (RedisError, OSError) as error:
            raise CountersDown(str(error)) from error

    def keys(self, name: str, where: str) -> tuple[str, str]:
        """Where a name and an address are counted."""
        return f"fail:account:{_digest(name)}", f"fail:address:{where}"

    async def close(self) -> None:
        await self._redis.aclose()

    async def _run(self, script: Any, name: str, where: str, arguments: list[object]) -> Any:
        try:
            return await script(keys=self.keys(name, where), args=arguments)
        except (RedisError, OSError) as error:
            raise CountersDown(str(error)) from error


def _digest(text: str) -> str:
    """Names are of people, and as long as somebody likes."""
    return sha256(text.encode()).hexdigest()[:32]


def _milliseconds(length: timedelta) -> int:
    return round(length / timedelta(milliseconds=1))
