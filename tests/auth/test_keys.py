"""Signing keys come and go, and no token is refused because of it."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from joserfc import jws
from sqlalchemy import select, update

from api.app import create_app
from domain.access import SYSTEM, at_the_machine
from domain.audit import actor
from domain.signing_key import PUBLISHED_AFTER, PUBLISHED_BEFORE, Standing
from runtime.settings import Settings
from service import signing_key
from store.database import Database
from store.tables import auth_signing_keys
from tests.api.documents import refused
from tests.conftest import served
from tests.support.audit import trail
from tests.support.databases import connected, crowd, settings_of_its_own
from tests.support.own_issuer import OwnIssuer, bearer, own_issuer, refresh

ME = at_the_machine("me")


@pytest.fixture
async def mine(settings: Settings) -> AsyncIterator[tuple[OwnIssuer, Database]]:
    """An installation of its own: its keys are nobody else's. With its owner."""
    async with (
        settings_of_its_own(settings) as own_settings,
        connected(own_settings.database_url, pool_size=5) as database,
        connected(own_settings.database_owner_url) as owner,
        own_issuer(own_settings, database) as running,
    ):
        yield running, owner


async def pass_(owner: Database, time: timedelta) -> None:
    """As if all that had happened so much earlier."""
    columns = auth_signing_keys.c
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(
            update(auth_signing_keys).values(
                signs_from=columns.signs_from - time, created_at=columns.created_at - time
            )
        )


def kid(session: dict[str, Any]) -> str:
    return str(jws.extract_compact(session["accessToken"].encode()).headers()["kid"])


async def published(own: OwnIssuer) -> list[str]:
    return [key["kid"] for key in (await own.at().get("/jwks")).json()["keys"]]


async def accepted(http: httpx2.AsyncClient, session: dict[str, Any]) -> bool:
    answer = await http.get("/auth/permissions", headers=bearer(session))
    return answer.status_code == 200


async def test_a_rotation_refuses_no_token(mine: tuple[OwnIssuer, Database]) -> None:
    """The API has the new key before the first token of it, and the old one for the last."""
    own, owner = mine
    http, who = own.at(), await own.somebody()
    session = await own.logged_in(who, http)
    [old] = await published(own)

    await signing_key.rotate(own.realm, actor(ME))

    first, new = await published(own)
    assert first == old
    assert kid(await own.logged_in(who, http)) == old
    # An API asks now, as each does within ten minutes: and then not again for a while.
    async with served(create_app(own.settings)) as api:
        assert await accepted(api, session)
        await pass_(owner, PUBLISHED_BEFORE)
        after = (await refresh(http, session["refreshToken"])).json()
        assert kid(after) == new
        assert await accepted(api, after)
        assert await accepted(api, session)
    # One that starts now still believes the last token of the old key.
    async with served(create_app(own.settings)) as api:
        assert await accepted(api, session)
        assert await accepted(api, after)
    await pass_(owner, PUBLISHED_AFTER)
    assert await published(own) == [new]


async def test_a_key_that_has_leaked_is_gone_at_once(mine: tuple[OwnIssuer, Database]) -> None:
    own, _ = mine
    http = own.at()
    session = await own.logged_in(await own.somebody(), http)
    [old] = await published(own)

    assert await signing_key.replace(own.realm, actor(ME)) == [old]

    [new] = await published(own)
    after = (await refresh(http, session["refreshToken"])).json()
    assert kid(after) == new != old
    async with served(create_app(own.settings)) as api:
        assert await accepted(api, after)
        shown = bearer(session)
        refused(await api.get("/auth/permissions", headers=shown), 401, "unauthenticated")
    database = own.database
    [withdrawn] = await trail(database, action="SIGNING_KEY_WITHDRAWN")
    assert withdrawn.target_id == old
    assert {each.target_id for each in await trail(database, action="SIGNING_KEY_ADDED")} == {
        old,
        new,
    }


async def test_a_key_is_made_when_the_last_one_is_old_by_one_of_many(
    mine: tuple[OwnIssuer, Database],
) -> None:
    own, owner = mine
    [old] = await published(own)
    assert not await signing_key.ensure(own.realm)
    await pass_(owner, own.realm.key_age)

    made = await crowd(signing_key.ensure(own.realm) for _ in range(8))

    assert made.count(True) == 1
    standing = {key.id: how for key, how in await signing_key.standing(own.realm)}
    assert standing.pop(old) is Standing.CURRENT
    assert list(standing.values()) == [Standing.NEXT]


async def test_what_is_published_has_no_private_half(mine: tuple[OwnIssuer, Database]) -> None:
    own, _ = mine
    [key] = (await own.at().get("/jwks")).json()["keys"]

    assert set(key) == {"kty", "crv", "x", "y", "use", "alg", "kid"}
    assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")


async def test_with_keys_the_private_half_is_sealed(settings: Settings) -> None:
    ring = "2026-11:" + "A" * 43 + "="
    async with (
        settings_of_its_own(settings) as own_settings,
        connected(own_settings.database_url, pool_size=5) as database,
        own_issuer(own_settings, database, payload_keys=ring) as sealed,
    ):
        session = await sealed.logged_in(await sealed.somebody())
        assert await accepted(sealed.at(), session)
        async with sealed.realm.database.read(SYSTEM) as tx:
            [private] = (await tx.execute(select(auth_signing_keys.c.private))).scalars()
        noted = json.dumps([repr(each) for each in await trail(database)])

    assert private.startswith("sealed:2026-11:")
    assert "PRIVATE KEY" not in private + noted
