"""Guessing: after five wrong passwords nobody is let in for a while, never for ever."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx2
import pytest
from redis.asyncio import Redis

from auth.attempts import Attempts
from cli.settings import os_user
from domain.user import FORGOTTEN_AFTER, LOCKS
from service import user
from service.password import HASHED
from tests.api.documents import refused
from tests.cli.conftest import Command, command
from tests.support.audit import trail
from tests.support.cables import Cable
from tests.support.own_issuer import (
    WRONG,
    OwnIssuer,
    an_address,
    bearer,
    login,
    own_issuer,
    refresh,
)

__all__ = ["command"]


@pytest.fixture
def attempts(own: OwnIssuer) -> Attempts:
    counters: Attempts = own.app.state.context.attempts
    return counters


@pytest.fixture
async def redis(own: OwnIssuer) -> AsyncIterator[Redis]:
    async with Redis.from_url(own.settings.redis_url, decode_responses=True) as connected:
        yield connected


async def lock_is_over(redis: Redis, attempts: Attempts, name: str, ip: str) -> None:
    """As if the time of it had passed."""
    for key in attempts.keys(name, ip):
        await redis.hdel(key, "until")


async def fail(own: OwnIssuer, name: str, times: int, ip: str | None = None) -> None:
    for _ in range(times):
        refused(await login(own.at(ip), name, WRONG), 401, "login-failed")


async def test_four_wrong_passwords_mean_nothing(own: OwnIssuer) -> None:
    who, ip = await own.somebody(), an_address()
    await fail(own, who.name, 4, ip)

    await own.logged_in(who, own.at(ip))

    await fail(own, who.name, 4, ip)
    await own.logged_in(who, own.at(ip))


async def test_the_fifth_locks_the_account_wherever_somebody_asks_from(own: OwnIssuer) -> None:
    who = await own.somebody()
    await fail(own, who.name, 5)

    refused(await login(own.at(), who.name), 401, "login-failed")

    noted = [each.action for each in await trail(own.database, target_id=who.id)]
    assert noted == ["LOGIN_FAILED", "ACCOUNT_LOCKED"]


async def test_the_fifth_locks_the_address_whatever_names_were_tried(own: OwnIssuer) -> None:
    """Before a password is looked at: it says something about the caller only."""
    who, ip = await own.somebody(), an_address()
    for _ in range(5):
        await fail(own, f"nobody-{uuid4().hex}", 1, ip)
    before = HASHED._value.get()

    answer = await login(own.at(ip), who.name)

    refused(answer, 429, "too-many-logins")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert HASHED._value.get() == before
    await own.logged_in(who)


async def test_each_further_failure_locks_for_twice_as_long_and_an_hour_at_most(
    attempts: Attempts, redis: Redis
) -> None:
    name, locks = f"u-{uuid4().hex}", []
    for failures in range(1, 14):
        ip = an_address()
        attempt = await attempts.count(name, ip)
        assert attempt.failures == failures
        if failures >= 5:
            locks.append((await attempts.count(name, an_address())).account_locked)
        await lock_is_over(redis, attempts, name, ip)

    minutes = [round(lock / timedelta(minutes=1)) for lock in locks]
    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_what_is_refused_by_a_lock_makes_it_no_longer(
    attempts: Attempts, redis: Redis
) -> None:
    name = f"u-{uuid4().hex}"
    for _ in range(5):
        await attempts.count(name, an_address())
    for _ in range(20):
        refused_one = await attempts.count(name, an_address())
        assert timedelta(0) < refused_one.account_locked <= LOCKS[0]

    await lock_is_over(redis, attempts, name, "10.0.0.1")
    assert (await attempts.count(name, an_address())).failures == 6


async def test_of_a_hundred_guesses_at_once_no_more_are_looked_at_than_one_after_another(
    own: OwnIssuer, attempts: Attempts
) -> None:
    name, ip = f"u-{uuid4().hex}", an_address()

    begun = await asyncio.gather(*(attempts.count(name, ip) for _ in range(100)))

    looked_at = [each for each in begun if not each.address_locked and not each.account_locked]
    assert sorted(each.failures for each in looked_at) == [1, 2, 3, 4, 5]


async def test_who_has_an_account_cannot_guess_on_by_logging_in_between(own: OwnIssuer) -> None:
    """A success forgives its own failures, not those of other names at the same address."""
    mine, ip = await own.somebody(), an_address()
    for _ in range(4):
        await fail(own, f"nobody-{uuid4().hex}", 1, ip)
        # Its fifth attempt in all locks while it is looked at, and its success unlocks.
        await own.logged_in(mine, own.at(ip))

    await fail(own, f"nobody-{uuid4().hex}", 1, ip)
    refused(await login(own.at(ip), mine.name), 429, "too-many-logins")


async def test_who_gets_in_at_last_leaves_an_office_unlocked(own: OwnIssuer) -> None:
    """Behind one address people mistype, each for themselves."""
    ip = an_address()
    for _ in range(3):
        who = await own.somebody()
        await fail(own, who.name, 3, ip)
        await own.logged_in(who, own.at(ip))


async def test_all_is_forgotten_when_it_is_quiet(attempts: Attempts, redis: Redis) -> None:
    name, ip = f"u-{uuid4().hex}", an_address()
    for _ in range(5):
        await attempts.count(name, ip)

    for key in attempts.keys(name, ip):
        left = timedelta(milliseconds=await redis.pttl(key))
        assert FORGOTTEN_AFTER < left <= FORGOTTEN_AFTER + LOCKS[0]


async def test_an_operator_unlocks_by_a_command(own: OwnIssuer, command: Command) -> None:
    who = await own.somebody()
    await fail(own, who.name, 5)
    refused(await login(own.at(), who.name), 401, "login-failed")

    told = await command("user", "unlock", who.name)

    assert told.exit_code == 0, told.output
    await own.logged_in(who)
    entries = await trail(own.database, target_id=who.id)
    assert (entries[-1].action, entries[-1].actor_id) == ("ACCOUNT_UNLOCKED", f"os/{os_user()}")


async def test_of_ipv6_a_network_is_one_address(own: OwnIssuer) -> None:
    """Within a /64 somebody has as many addresses as they like."""
    home = f"2001:db8:{random.randrange(65536):x}:{random.randrange(65536):x}"
    who = await own.somebody()
    for number in range(1, 6):
        await fail(own, f"nobody-{uuid4().hex}", 1, f"{home}::{number}")

    refused(await login(own.at(f"{home}:ffff::1"), who.name), 429, "too-many-logins")
    await own.logged_in(who, own.at("2001:db8::1"))


async def test_an_address_is_that_of_the_client_behind_our_own_proxies_only(
    own: OwnIssuer,
) -> None:
    """Otherwise whoever guesses would say each time that they come from elsewhere."""
    ip = an_address()
    for _ in range(5):
        forged = {"X-Forwarded-For": an_address()}
        body = {"name": f"nobody-{uuid4().hex}", "password": WRONG}
        answer = await own.at(ip).post("/auth/login", json=body, headers=forged)
        refused(answer, 401, "login-failed")

    refused(await login(own.at(ip), "nobody", WRONG), 429, "too-many-logins")


async def test_without_redis_nobody_gets_in_and_who_is_in_stays_in(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    target = httpx2.URL(own.settings.redis_url)
    cable = Cable(target.host, target.port or 6379)
    await cable.plug()
    url = f"redis://127.0.0.1:{cable.port}/0"
    async with own_issuer(own.settings, own.database, redis_url=url) as mine:
        who, http = await mine.somebody(), mine.at()
        session = await mine.logged_in(who, http)
        await cable.cut()
        before = HASHED._value.get()

        answer = await login(http, who.name)

        refused(answer, 503, "unavailable")
        assert HASHED._value.get() == before
        again = await refresh(http, session["refreshToken"])
        assert again.status_code == 200, again.text
        known = await http.get("/auth/permissions", headers=bearer(again.json()))
        assert known.status_code == 200, known.text
        ended = {"refreshToken": again.json()["refreshToken"]}
        assert (await http.post("/auth/logout", json=ended)).status_code == 204

        await cable.plug()
        await mine.logged_in(who, http)
        await cable.cut()
    assert await user.named(own.realm, who.name) is not None
