"""Staying in: a refresh token is good once, and the one that comes twice ends its session."""

import asyncio
from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import func, select, update

from domain.access import SYSTEM
from domain.roles import Role
from domain.session import GRACE, digest
from runtime.settings import Settings
from service import session as sessions
from service import user as users
from store import session as rows
from store import user
from store.clock import NOW
from store.database import Database
from store.tables import auth_refresh_tokens, auth_sessions
from tests.api.documents import refused
from tests.support.audit import trail
from tests.support.own_issuer import OwnIssuer, bearer, login, own_issuer, refresh


async def is_older(owner: Database, token: str, by: timedelta) -> None:
    """As if that token had been used so much earlier."""
    kept = auth_refresh_tokens.c
    earlier = update(auth_refresh_tokens).where(kept.hash == digest(token))
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(earlier.values(used_at=kept.used_at - by))


async def generations(database: Database, session_id: str) -> int:
    tokens = auth_refresh_tokens
    query = select(func.count()).where(tokens.c.session_id == session_id)
    async with database.read(SYSTEM) as tx:
        return int(await tx.scalar(query) or 0)


async def session_of(own: OwnIssuer, http: httpx2.AsyncClient, token: str) -> str:
    query = select(auth_refresh_tokens.c.session_id).where(
        auth_refresh_tokens.c.hash == digest(token)
    )
    async with own.realm.database.read(SYSTEM) as tx:
        return str(await tx.scalar(query))


async def test_each_refresh_gives_the_next_token_and_the_same_session(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    who, http = await own.somebody(), own.at()
    session = await own.logged_in(who, http)
    first = session["refreshToken"]
    seen, id_ = {first}, await session_of(own, http, first)
    for _ in range(3):
        answer = await refresh(http, session["refreshToken"])
        assert answer.status_code == 200, answer.text
        session = answer.json()
        seen.add(session["refreshToken"])
        assert await session_of(own, http, session["refreshToken"]) == id_
        assert (await closed.get("/auth/permissions", headers=bearer(session))).status_code == 200

    assert len(seen) == 4


async def test_of_fifty_who_refresh_at_once_one_makes_the_successor_and_all_get_it(
    own: OwnIssuer,
) -> None:
    http = own.at()
    session = await own.logged_in(await own.somebody(), http)
    first = session["refreshToken"]
    id_ = await session_of(own, http, first)

    answers = await asyncio.gather(*(refresh(http, first) for _ in range(50)))

    assert [answer.status_code for answer in answers] == [200] * 50
    [successor] = {answer.json()["refreshToken"] for answer in answers}
    assert successor != first
    assert await generations(own.realm.database, id_) == 2
    assert (await refresh(http, successor)).status_code == 200


async def test_a_token_that_comes_later_again_ends_the_session_for_everybody(
    own: OwnIssuer, owner: Database
) -> None:
    who, http = await own.somebody(), own.at()
    first = (await own.logged_in(who, http))["refreshToken"]
    second = (await refresh(http, first)).json()["refreshToken"]
    await is_older(owner, first, GRACE + timedelta(seconds=1))

    refused(await refresh(own.at(), first), 401, "session-ended")

    refused(await refresh(http, second), 401, "session-ended")
    refused(await refresh(http, first), 401, "session-ended")
    begun, ended = await trail(own.database, actor_id=f"own/{who.id}")
    assert (begun.action, ended.action) == ("LOGGED_IN", "SESSION_REVOKED")
    assert ended.target_id == begun.target_id
    assert ended.reason == "a refresh token came twice, or from another client"


async def test_a_token_of_long_ago_ends_the_session_too(own: OwnIssuer, owner: Database) -> None:
    """Not only the one before the last."""
    http = own.at()
    tokens = [(await own.logged_in(await own.somebody(), http))["refreshToken"]]
    for _ in range(3):
        tokens.append((await refresh(http, tokens[-1])).json()["refreshToken"])
    await is_older(owner, tokens[0], timedelta(hours=1))

    refused(await refresh(http, tokens[0]), 401, "session-ended")
    refused(await refresh(http, tokens[-1]), 401, "session-ended")


async def test_a_token_that_another_client_shows_ends_the_session(own: OwnIssuer) -> None:
    http = own.at()
    first = (await own.logged_in(await own.somebody(), http))["refreshToken"]

    refused(await refresh(http, first, "billing-cli"), 401, "session-ended")
    refused(await refresh(http, first), 401, "session-ended")


async def test_other_sessions_of_the_same_person_go_on(own: OwnIssuer, owner: Database) -> None:
    who, http = await own.somebody(), own.at()
    one, two = [(await own.logged_in(who, http))["refreshToken"] for _ in range(2)]
    assert (await refresh(http, one)).status_code == 200
    await is_older(owner, one, timedelta(minutes=1))
    refused(await refresh(http, one), 401, "session-ended")

    assert (await refresh(http, two)).status_code == 200


async def test_who_logs_out_is_out_and_may_do_it_twice(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    """Who asks our issuer at each request hears it at once; the token itself ends minutes later."""
    http = own.at()
    session = await own.logged_in(await own.somebody(), http)
    shown = {"refreshToken": session["refreshToken"]}
    assert (await http.get("/auth/permissions", headers=bearer(session))).status_code == 200

    for _ in range(2):
        answer = await http.post("/auth/logout", json=shown)
        assert (answer.status_code, answer.content) == (204, b"")

    refused(await refresh(http, session["refreshToken"]), 401, "session-ended")
    refused(await http.get("/auth/permissions", headers=bearer(session)), 401, "unauthenticated")
    assert (await closed.get("/auth/permissions", headers=bearer(session))).status_code == 200


async def test_what_is_changed_about_somebody_is_in_the_next_token(own: OwnIssuer) -> None:
    who, http = await own.somebody(Role.OPERATOR), own.at()
    session = await own.logged_in(who, http)
    async with own.realm.database.begin(SYSTEM) as tx:
        await user.set_roles(tx, who.id, {Role.FINANCE}, None)

    session = (await refresh(http, session["refreshToken"])).json()

    known = (await http.get("/auth/permissions", headers=bearer(session))).json()
    assert known["roles"] == ["finance"]


async def test_who_is_disabled_has_no_session_any_more(own: OwnIssuer) -> None:
    who, http = await own.somebody(), own.at()
    session = await own.logged_in(who, http)
    async with own.realm.database.begin(SYSTEM) as tx:
        await user.disable(tx, who.id)
        await rows.revoke_all(tx, who.id)

    refused(await refresh(http, session["refreshToken"]), 401, "session-ended")
    refused(await login(own.at(), who.name), 401, "login-failed")


async def test_a_session_ends_however_often_it_is_refreshed(
    own: OwnIssuer, owner: Database
) -> None:
    who, http = await own.somebody(), own.at()
    session = await own.logged_in(who, http)
    session = (await refresh(http, session["refreshToken"])).json()
    id_ = await session_of(own, http, session["refreshToken"])
    over = update(auth_sessions).where(auth_sessions.c.id == id_)
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(over.values(expires_at=NOW))

    refused(await refresh(http, session["refreshToken"]), 401, "session-ended")


async def test_what_ended_long_ago_is_forgotten_with_its_tokens(
    own: OwnIssuer, owner: Database
) -> None:
    who, http = await own.somebody(), own.at()
    old, new = [(await own.logged_in(who, http))["refreshToken"] for _ in range(2)]
    id_ = await session_of(own, http, old)
    over = update(auth_sessions).where(auth_sessions.c.id == id_)
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(over.values(expires_at=NOW - sessions.KEPT - timedelta(days=1)))

    assert await sessions.forget(own.realm) >= 1

    assert await generations(own.realm.database, id_) == 0
    refused(await refresh(http, old), 401, "session-ended")
    assert (await refresh(http, new)).status_code == 200


async def test_nothing_in_the_tables_is_enough_to_go_on(own: OwnIssuer) -> None:
    """Neither a token nor its successor stands there."""
    http = own.at()
    first = (await own.logged_in(await own.somebody(), http))["refreshToken"]
    second = (await refresh(http, first)).json()["refreshToken"]
    async with own.realm.database.read(SYSTEM) as tx:
        kept = [repr(row) for row in await tx.execute(select(auth_refresh_tokens))]
        kept += [repr(row) for row in await tx.execute(select(auth_sessions))]

    assert kept
    assert not [row for row in kept if first in row or second in row]


@pytest.mark.parametrize("token", ["x", "x" * 43, "é" * 43, "' OR 1=1 --"])
async def test_a_token_that_was_never_issued_opens_and_ends_nothing(
    own: OwnIssuer, token: str
) -> None:
    refused(await refresh(own.at(), token), 401, "session-ended")
    answer = await own.at().post("/auth/logout", json={"refreshToken": token})
    assert answer.status_code == 204


async def test_with_keys_what_successors_are_made_with_is_sealed(
    settings: Settings, database: Database
) -> None:
    ring = "2026-11:" + "A" * 43 + "="
    async with own_issuer(settings, database, payload_keys=ring) as sealed:
        http = sealed.at()
        # The keys that were made without are still read; a new one is sealed.
        who = await sealed.somebody()
        session = await sealed.logged_in(who, http)
        first = session["refreshToken"]
        id_ = await session_of(sealed, http, first)
        assert (await refresh(http, first)).status_code == 200
        async with sealed.realm.database.read(SYSTEM) as tx:
            seed = await tx.scalar(select(auth_sessions.c.seed).where(auth_sessions.c.id == id_))

        assert await users.named(sealed.realm, who.name) is not None

    assert str(seed).startswith("sealed:2026-11:")
