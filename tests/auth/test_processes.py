"""Two processes of `billing auth` are one issuer, also when the cache below them dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import func, select

from dev import process, services, valkey
from dev.process import Server
from dev.stack import Stack
from domain.access import SYSTEM
from domain.roles import Role
from domain.session import digest
from domain.user import User
from runtime.settings import Settings
from service.password import Passwords
from store import user
from store.database import Database
from store.tables import auth_refresh_tokens
from tests.api.documents import refused
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.databases import connected
from tests.support.own_issuer import PASSWORD, WRONG, bearer, login, refresh
from tests.support.samples import new_id


@dataclass(frozen=True)
class Pair:
    """Both believe the first one's address."""

    one: httpx2.AsyncClient
    two: httpx2.AsyncClient
    cache: Server
    database: Database

    async def somebody(self) -> User:
        kept = await Passwords().hashed(PASSWORD)
        async with self.database.begin(SYSTEM) as tx:
            roles = {Role.OPERATOR}
            made = await user.add(tx, new_id(), f"u-{uuid4().hex}", kept, roles, None)
        assert made is not None
        return made


@pytest.fixture
async def pair(stack: Stack, settings: Settings, tmp_path: Path) -> AsyncIterator[Pair]:
    """With a cache of their own, to be killed."""
    servers: list[Server] = []
    cache, ports = process.free_port(), [process.free_port() for _ in range(2)]
    mine = replace(stack, directory=tmp_path)
    told = services.environment(
        stack,
        redis_url=valkey.url(cache),
        **services.believing(f"http://127.0.0.1:{ports[0]}"),
    )
    try:
        servers.append(valkey.start(tmp_path, cache))
        servers += [services.start_auth(mine, port, told, f"auth-{port}") for port in ports]
        await asyncio.to_thread(process.wait_until_ready, servers)
        async with AsyncExitStack() as clients:
            one, two = [
                await clients.enter_async_context(
                    httpx2.AsyncClient(
                        base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS
                    )
                )
                for port in ports
            ]
            database = await clients.enter_async_context(
                connected(settings.auth_database_url, pool_size=2)
            )
            yield Pair(one, two, servers[0], database)
    finally:
        await asyncio.to_thread(process.stop, servers)


async def test_two_processes_are_one_issuer(pair: Pair) -> None:
    who = await pair.somebody()
    session = (await login(pair.one, who.name)).json()
    first = session["refreshToken"]

    # Keys, tokens and sessions of one are those of the other.
    assert (await pair.one.get("/jwks")).json() == (await pair.two.get("/jwks")).json()
    known = await pair.two.get("/auth/permissions", headers=bearer(session))
    assert known.json()["caller"] == f"own/{who.id}"
    both = [refresh(each, first) for _ in range(25) for each in (pair.one, pair.two)]
    answers = await asyncio.gather(*both)
    assert [answer.status_code for answer in answers] == [200] * 50
    [successor] = {answer.json()["refreshToken"] for answer in answers}
    kept = auth_refresh_tokens.c
    async with pair.database.read(SYSTEM) as tx:
        session_id = await tx.scalar(select(kept.session_id).where(kept.hash == digest(first)))
        of_session = select(func.count()).where(kept.session_id == session_id)
        assert await tx.scalar(of_session) == 2
    # Who leaves one has left the other.
    await pair.two.post("/auth/logout", json={"refreshToken": successor})
    refused(await refresh(pair.one, successor), 401, "session-ended")
    shown = bearer(session)
    refused(await pair.one.get("/auth/permissions", headers=shown), 401, "unauthenticated")

    # Wrong passwords count in both, and both ask at one address.
    for each in (pair.one, pair.two, pair.one, pair.two, pair.one):
        refused(await login(each, f"nobody-{uuid4().hex}", WRONG), 401, "login-failed")
    refused(await login(pair.two, who.name), 429, "too-many-logins")


async def test_the_cache_is_killed_and_who_is_in_stays_in(pair: Pair) -> None:
    who = await pair.somebody()
    session = (await login(pair.one, who.name)).json()

    pair.cache.process.kill()
    pair.cache.process.wait()

    refused(await login(pair.one, who.name), 503, "unavailable")
    again = await refresh(pair.two, session["refreshToken"])
    assert again.status_code == 200, again.text
    for each in (pair.one, pair.two):
        answer = await each.get("/auth/permissions", headers=bearer(again.json()))
        assert answer.status_code == 200, answer.text
    ended = {"refreshToken": again.json()["refreshToken"]}
    assert (await pair.one.post("/auth/logout", json=ended)).status_code == 204
    refused(await refresh(pair.two, ended["refreshToken"]), 401, "session-ended")
