"""A program without a browser: somebody agrees elsewhere, once, and only who can log in."""

from hashlib import sha256
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from auth.devices import LETTERS, SECONDS, typed
from domain.roles import Role
from service.password import HASHED
from tests.auth.test_oauth import CLI, asked, is_error
from tests.support.own_issuer import PASSWORD, WRONG, OwnIssuer, login

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


async def begun(http: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await http.post("/oauth/device", data={"client_id": CLI, "scope": "openid"})
    assert answer.status_code == 200, answer.text
    device: dict[str, Any] = answer.json()
    return device


async def polled(
    http: httpx2.AsyncClient, device: dict[str, Any], client_id: str = CLI
) -> httpx2.Response:
    code = device["device_code"]
    return await asked(http, grant_type=DEVICE, device_code=code, client_id=client_id)


async def agreed(
    http: httpx2.AsyncClient, code: str, name: str, password: str = PASSWORD
) -> httpx2.Response:
    form = {"user_code": code, "username": name, "password": password}
    return await http.post("/device", data=form)


async def test_somebody_agrees_and_the_program_acts_for_them(
    own: OwnIssuer, closed: httpx2.AsyncClient
) -> None:
    who, program, browser = await own.somebody(Role.FINANCE), own.at(), own.at()
    device = await begun(program)
    page = httpx2.URL(device["verification_uri"])
    assert (await browser.get(page)).status_code == 200
    assert "verification_uri_complete" not in device
    is_error(await polled(program, device), "authorization_pending")

    # As people type: in small letters, and with spaces.
    done = await agreed(browser, device["user_code"].lower().replace("-", " "), who.name)

    assert (done.status_code, "Done" in done.text) == (200, True)
    granted = await polled(program, device)
    assert granted.status_code == 200, granted.text
    tokens = granted.json()
    shown = {"Authorization": f"Bearer {tokens['access_token']}"}
    known = (await closed.get("/auth/permissions", headers=shown)).json()
    assert (known["caller"], known["roles"]) == (f"own/{who.id}", ["finance"])
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert (await asked(program, client_id=CLI, **again)).status_code == 200
    # Each code is good once.
    is_error(await polled(program, device), "invalid_grant")
    assert (await agreed(browser, device["user_code"], who.name)).status_code == 400


async def test_a_program_that_asks_again_too_soon_is_told_so(own: OwnIssuer) -> None:
    device, http = await begun(own.at()), own.at()
    is_error(await polled(http, device), "authorization_pending")
    async with Redis.from_url(own.settings.redis_url, decode_responses=True) as redis:
        name = f"device:{sha256(device['device_code'].encode()).hexdigest()}:asked"
        # The pause does not end while this machine is busy.
        assert await redis.persist(name)
        is_error(await polled(http, device), "slow_down")
        await redis.delete(name)
    is_error(await polled(http, device), "authorization_pending")


async def test_who_cannot_log_in_cannot_agree(own: OwnIssuer) -> None:
    """And is counted and answered as at every other log-in."""
    who, program, browser = await own.somebody(), own.at(), own.at()
    device = await begun(program)
    answers = [
        await agreed(browser, device["user_code"], name, WRONG)
        for name in (who.name, "nobody", "a", "b", "c")
    ]
    assert {each.status_code for each in answers} == {401}
    assert len({each.text for each in answers}) == 1
    before = HASHED._value.get()

    locked = await agreed(browser, device["user_code"], who.name)

    assert (locked.status_code, HASHED._value.get()) == (429, before)
    assert (await login(browser, who.name)).status_code == 429
    is_error(await polled(program, device), "authorization_pending")


async def test_a_code_that_is_none_is_told_to_who_can_log_in_only(own: OwnIssuer) -> None:
    who, browser = await own.somebody(), own.at()
    device = await begun(own.at())
    assert (await agreed(browser, "BCDF-GHJK", who.name)).status_code == 400
    wrong = await agreed(browser, "BCDF-GHJK", who.name, WRONG)
    right = await agreed(browser, device["user_code"], who.name, WRONG)
    assert (wrong.status_code, wrong.text) == (right.status_code, right.text)


async def test_another_program_gets_nothing_of_it(own: OwnIssuer) -> None:
    who, http = await own.somebody(), own.at()
    device = await begun(http)
    assert (await agreed(own.at(), device["user_code"], who.name)).status_code == 200

    is_error(await polled(http, {"device_code": "x" * 43}), "invalid_grant")
    is_error(await polled(http, device, "somebody-else"), "invalid_client")


async def test_codes_end_by_themselves_and_are_kept_by_their_digest(own: OwnIssuer) -> None:
    device = await begun(own.at())
    assert device["expires_in"] == SECONDS
    assert set(device["user_code"]) <= {*LETTERS, "-"}
    async with Redis.from_url(own.settings.redis_url, decode_responses=True) as redis:
        names = [name async for name in redis.scan_iter("device*")]
        code = f"device-code:{typed(device['user_code'])}"
        kept = str(await redis.get(code))
        assert 0 < await redis.ttl(code) <= SECONDS
        assert 0 < await redis.ttl(kept) <= SECONDS
        await redis.delete(kept)
    assert not [name for name in names if device["device_code"] in name]

    who = await own.somebody()
    assert (await agreed(own.at(), device["user_code"], who.name)).status_code == 400
    is_error(await polled(own.at(), device), "invalid_grant")


@pytest.mark.parametrize("fields", [{}, {"client_id": "evil"}, {"client_id": ""}], ids=str)
async def test_only_our_programs_begin(own: OwnIssuer, fields: dict[str, str]) -> None:
    answer = await own.at().post("/oauth/device", data=fields)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_request", "invalid_client")


async def test_the_page_runs_nothing_and_is_in_no_frame(own: OwnIssuer) -> None:
    for answer in (
        await own.at().get("/device"),
        await agreed(own.at(), "<script>", "<b>x</b>", WRONG),
        await own.at().post("/device", data={"user_code": "x"}),
        await own.at().post("/device", content=b"<script>"),
    ):
        assert "<script" not in answer.text
        assert "<b>x" not in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
