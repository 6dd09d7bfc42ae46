"""Coming in: who is let in, who is not, and that nobody learns more from a refusal."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import httpx2
import pytest
from joserfc import jws
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from domain.access import SYSTEM
from domain.roles import Role
from service import password as passwords
from service import user as users
from service.password import HASHED
from store import user
from tests.api.documents import refused
from tests.support.audit import trail
from tests.support.conditions import eventually, meanwhile
from tests.support.own_issuer import (
    PASSWORD,
    WRONG,
    OwnIssuer,
    an_address,
    bearer,
    login,
    refresh,
)


async def test_who_logs_in_is_known_to_the_api(own: OwnIssuer, closed: httpx2.AsyncClient) -> None:
    """By its ordinary validator: discovery, key set, RFC 9068."""
    customer_id = f"c-{uuid4().hex}"
    who = await own.somebody(Role.CUSTOMER, customer_id=customer_id)
    session = await own.logged_in(who)

    answer = await closed.get("/auth/permissions", headers=bearer(session))

    known = answer.json()
    assert answer.status_code == 200, answer.text
    assert (known["caller"], known["roles"]) == (f"own/{who.id}", ["customer"])
    assert known["customerId"] == customer_id
    assert "invoices.read" in known["actions"]
    assert "invoices.decide" not in known["actions"]
    assert (await closed.get("/api/v1/wallet")).status_code == 401
    assert (await closed.get("/api/v1/wallet", headers=bearer(session))).status_code == 200


async def test_a_token_is_exactly_that_of_rfc_9068(own: OwnIssuer) -> None:
    who = await own.somebody(Role.OPERATOR, Role.FINANCE)
    session = await own.logged_in(who)

    token = jws.extract_compact(session["accessToken"].encode())
    header, claims = token.headers(), json.loads(token.payload)
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")
    assert set(header) == {"alg", "typ", "kid"}
    named = {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "roles"}
    assert set(claims) == named
    assert (claims["iss"], claims["aud"], claims["sub"]) == (own.url, "billing", who.id)
    assert claims["roles"] == ["operator", "finance"]
    assert claims["exp"] - claims["iat"] == session["expiresIn"] <= 600


async def test_every_wrong_log_in_has_one_answer_and_costs_one_hash(own: OwnIssuer) -> None:
    """Whether the name, the password or the time is wrong cannot be told from either."""
    known, gone, locked = [await own.somebody() for _ in range(3)]
    async with own.realm.database.begin(SYSTEM) as tx:
        await user.disable(tx, gone.id)
    for _ in range(5):
        await login(own.at(), locked.name, WRONG)
    tried = {
        "a name of nobody": (f"nobody-{uuid4().hex}", PASSWORD),
        "a wrong password": (known.name, WRONG),
        "somebody who is not let in any more": (gone.name, PASSWORD),
        "locked, with the right password": (locked.name, PASSWORD),
        "locked, with a wrong one": (locked.name, WRONG),
        "a name in capitals": (known.name.upper(), PASSWORD),
        "no name at all": ("' OR 1=1 --", PASSWORD),
    }
    answers = set()
    for what, (name, password) in tried.items():
        before = HASHED._value.get()
        answer = await login(own.at(), name, password)
        refused(answer, 401, "login-failed")
        answers.add((answer.text, tuple(sorted(answer.headers))))
        assert HASHED._value.get() - before == 1, what

    assert len(answers) == 1


async def test_a_log_in_leaves_a_trace_and_no_password(own: OwnIssuer) -> None:
    who, at = await own.somebody(), an_address()
    http = own.at(at)
    await login(http, who.name, WRONG)
    session = await own.logged_in(who, http)
    await http.post("/auth/logout", json={"refreshToken": session["refreshToken"]})

    database = own.database
    [wrong] = await trail(database, target_id=who.id)
    begun, ended = await trail(database, actor_id=f"own/{who.id}")
    assert (wrong.action, wrong.actor_type, wrong.ip) == ("LOGIN_FAILED", "EXTERNAL", at)
    assert (begun.action, begun.ip) == ("LOGGED_IN", at)
    assert (ended.action, ended.reason) == ("SESSION_REVOKED", "logged out")
    assert begun.target_id == ended.target_id
    for each in (wrong, begun, ended):
        assert "horse" not in repr(each)
        assert who.name not in repr(each)


async def test_many_wrong_log_ins_are_a_few_lines_of_the_trail(own: OwnIssuer) -> None:
    """However many addresses they come from: whoever sends them must not fill the disk."""
    who = await own.somebody()
    strangers = [f"nobody-{uuid4().hex}" for _ in range(6)]
    before = len(await trail(own.database, target_id="unknown"))

    for name in [*strangers, *[who.name] * 8]:
        refused(await login(own.at(), name, WRONG), 401, "login-failed")

    noted = [each.action for each in await trail(own.database, target_id=who.id)]
    of_nobody = await trail(own.database, target_id="unknown")
    # Ten minutes may be over in between.
    assert noted[:2] == ["LOGIN_FAILED", "ACCOUNT_LOCKED"]
    assert len(noted) <= 4
    assert len(of_nobody) - before <= 4
    assert not set(strangers) & {each.target_id for each in of_nobody}


async def test_an_outdated_hash_is_replaced_by_whoever_logs_in(own: OwnIssuer) -> None:
    who = await own.somebody()
    weak = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),))
    async with own.realm.database.begin(SYSTEM) as tx:
        await user.set_password(tx, who.id, weak.hash(PASSWORD))

    await own.logged_in(who)

    now_known = await users.named(own.realm, who.name)
    assert now_known is not None
    assert "m=65536,t=3,p=4" in now_known.password_hash
    await own.logged_in(who)


async def test_a_hash_that_is_none_lets_nobody_in(own: OwnIssuer) -> None:
    who = await own.somebody()
    async with own.realm.database.begin(SYSTEM) as tx:
        await user.set_password(tx, who.id, "a hash that is none")

    refused(await login(own.at(), who.name), 401, "login-failed")


@asynccontextmanager
async def nobodys_turn(own: OwnIssuer) -> AsyncIterator[None]:
    """For the length of the block no password is looked at."""
    turns = own.app.state.context.passwords.turns
    async with AsyncExitStack() as taken:
        for _ in range(passwords.AT_ONCE):
            await taken.enter_async_context(turns)
        yield


async def test_a_flood_of_log_ins_waits_for_its_turn_or_is_refused(own: OwnIssuer) -> None:
    """Some wait, and all others are told at once to come again, whoever they are."""
    flood, answered, before = passwords.WAITING + 30, list[int](), HASHED._value.get()

    async def guess() -> None:
        answer = await login(own.at(), f"nobody-{uuid4().hex}", WRONG)
        answered.append(answer.status_code)

    async def all_others_are_answered() -> bool:
        return len(answered) == 30

    async with nobodys_turn(own), asyncio.TaskGroup() as guesses:
        for _ in range(flood):
            guesses.create_task(guess())
        await eventually(all_others_are_answered)
        assert answered == [503] * 30
        refused(await login(own.at(), "nobody", WRONG), 503, "overloaded")
        own.app.state.context.passwords.turns.release()
        await eventually(lambda: _all(answered, flood))
        await own.app.state.context.passwords.turns.acquire()

    assert answered[30:] == [401] * passwords.WAITING
    assert HASHED._value.get() - before == passwords.WAITING


async def _all(answered: list[int], flood: int) -> bool:
    return len(answered) == flood


async def test_who_is_logged_in_does_not_wait_for_who_is_not(own: OwnIssuer) -> None:
    session = await own.logged_in(await own.somebody())
    http = own.at()
    async with nobodys_turn(own), meanwhile(login(own.at(), "nobody", WRONG)) as waiting:
        assert (await http.get("/jwks")).status_code == 200
        assert (await refresh(http, session["refreshToken"])).status_code == 200
        assert (await http.get("/auth/permissions", headers=bearer(session))).status_code == 200
        assert not waiting.done()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "a"},
        {"name": "a", "password": ""},
        {"name": "", "password": "b"},
        {"name": "a" * 65, "password": "b"},
        {"name": "a", "password": "b" * 257},
        {"name": 7, "password": "b"},
        {"name": "a", "password": ["b"]},
        {"name": "a", "password": "b", "role": "admin"},
        {"name": "a", "password": "b", "clientId": "somebody-else"},
        {"name": "a\x00", "password": "b"},
        [],
        "a",
    ],
    ids=str,
)
async def test_what_is_no_log_in_is_refused_and_not_counted(own: OwnIssuer, body: object) -> None:
    before = HASHED._value.get()

    refused(await own.at().post("/auth/login", json=body), 400, "invalid-request")

    assert HASHED._value.get() == before


async def test_who_may_not_in_the_api_may_not_ask_here(own: OwnIssuer) -> None:
    http = own.at()
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        refused(await http.get("/auth/permissions", headers=headers), 401, "unauthenticated")
    session = await own.logged_in(await own.somebody(Role.FINANCE), http)
    asked = {"action": "payments.resolve"}
    verdict = await http.post("/auth/check", json=asked, headers=bearer(session))
    assert verdict.json()["allowed"] is False
    assert verdict.json()["neededRoles"] == ["operator"]
