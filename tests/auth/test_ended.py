"""Whoever has logged out, or lost a token to a thief, changes nothing with what is left of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from redis.asyncio import Redis

from api.app import create_app
from api.ended import KEPT
from dev import process, valkey
from dev.process import Server
from domain.roles import Role
from domain.session import GRACE
from runtime.settings import Settings
from store.database import Database
from tests.api.documents import refused
from tests.auth.test_refresh import is_older
from tests.conftest import served
from tests.support.own_issuer import OwnIssuer, bearer, own_issuer, refresh
from tests.support.samples import new_id

ROLES = (Role.CUSTOMER, Role.OPERATOR)


async def logged_in(own: OwnIssuer, role: Role) -> dict[str, Any]:
    customer = f"c-{uuid4().hex[:12]}" if role is Role.CUSTOMER else None
    return await own.logged_in(await own.somebody(role, customer_id=customer))


async def pays(api: httpx2.AsyncClient, session: dict[str, Any]) -> httpx2.Response:
    """An order that is not there: 404 says that whoever asks was let in."""
    headers = {**bearer(session), "Idempotency-Key": uuid4().hex}
    body = {"orderId": new_id(), "method": "CARD"}
    return await api.post("/api/v1/payments", json=body, headers=headers)


async def looks(api: httpx2.AsyncClient, session: dict[str, Any]) -> httpx2.Response:
    return await api.get("/auth/permissions", headers=bearer(session))


@pytest.mark.parametrize("role", ROLES)
async def test_whoever_has_logged_out_pays_nothing_more_and_still_sees(
    own: OwnIssuer, closed: httpx2.AsyncClient, role: Role
) -> None:
    session = await logged_in(own, role)
    refused(await pays(closed, session), 404, "not-found")

    gone = {"refreshToken": session["refreshToken"]}
    assert (await own.at().post("/auth/logout", json=gone)).status_code == 204

    refused(await pays(closed, session), 401, "unauthenticated")
    assert (await looks(closed, session)).status_code == 200
    another = await logged_in(own, role)
    refused(await pays(closed, another), 404, "not-found")


async def test_a_stolen_refresh_token_ends_what_its_session_may_change(
    own: OwnIssuer, closed: httpx2.AsyncClient, owner: Database
) -> None:
    first = await logged_in(own, Role.OPERATOR)
    second = (await refresh(own.at(), first["refreshToken"])).json()
    refused(await pays(closed, second), 404, "not-found")
    await is_older(owner, first["refreshToken"], GRACE + timedelta(seconds=1))

    refused(await refresh(own.at(), first["refreshToken"]), 401, "session-ended")

    for session in (first, second):
        refused(await pays(closed, session), 401, "unauthenticated")


async def test_it_is_remembered_for_longer_than_any_token_of_it_is_believed(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    session = await logged_in(own, Role.OPERATOR)
    gone = {"refreshToken": session["refreshToken"]}
    async with Redis.from_url(own.settings.redis_url) as redis:
        before = set(await redis.keys("deny:*"))
        await own.at().post("/auth/logout", json=gone)
        [made] = set(await redis.keys("deny:*")) - before
        left = await redis.ttl(made)
    longest = own.settings.auth_token_seconds + own.settings.oidc_issuers[0].leeway_seconds
    assert longest < left <= KEPT.total_seconds()


@dataclass(frozen=True)
class Installation:
    """Our own issuer and an API that believes it, with a cache of their own, to be killed."""

    own: OwnIssuer
    api: httpx2.AsyncClient
    cache: Server


@pytest.fixture
async def installation(
    settings: Settings, database: Database, tmp_path: Path
) -> AsyncIterator[Installation]:
    port = process.free_port()
    cache = valkey.start(tmp_path, port)
    try:
        await asyncio.to_thread(process.wait_until_ready, [cache])
        mine = settings.model_copy(update={"redis_url": valkey.url(port)})
        async with own_issuer(mine, database) as own, served(create_app(own.settings)) as api:
            yield Installation(own, api, cache)
    finally:
        await asyncio.to_thread(process.stop, [cache])


async def test_while_nobody_knows_who_has_logged_out_customers_go_on_and_staff_waits(
    installation: Installation,
) -> None:
    own, api = installation.own, installation.api
    of_customer, of_staff = [await logged_in(own, role) for role in ROLES]

    installation.cache.process.kill()
    installation.cache.process.wait()

    refused(await pays(api, of_customer), 404, "not-found")
    waits = await pays(api, of_staff)
    refused(waits, 503, "unavailable")
    assert waits.headers["Retry-After"]
    for session in (of_customer, of_staff):
        assert (await looks(api, session)).status_code == 200


async def test_who_ended_while_the_cache_was_away_is_known_once_the_token_is_shown_again(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    session = await logged_in(own, Role.CUSTOMER)
    gone = {"refreshToken": session["refreshToken"]}
    await own.at().post("/auth/logout", json=gone)
    async with Redis.from_url(own.settings.redis_url) as redis:
        # As if Redis had been away, or had lost it.
        for each in await redis.keys("deny:*"):
            await redis.delete(each)
    refused(await pays(closed, session), 404, "not-found")

    refused(await refresh(own.at(), session["refreshToken"]), 401, "session-ended")

    refused(await pays(closed, session), 401, "unauthenticated")
