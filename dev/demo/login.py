"""Step: whoever shows a token sees what is theirs, and of others nothing, not even that it is."""

import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx2

from dev import process, services
from dev.demo import month
from dev.demo.stage import Stage
from dev.demo.verdict import expect
from dev.process import Server
from domain.access import at_the_machine
from domain.roles import Role
from service import user
from service.password import Passwords
from service.realm import Realm
from store.database import connect

NAME = "kim"


async def own_and_anothers(stage: Stage) -> None:
    """A customer logs in at an issuer of our own, and asks an API that demands tokens."""
    auth_port, api_port = process.free_port(), process.free_port()
    environment = {
        **stage.environment,
        **services.believing(f"http://127.0.0.1:{auth_port}"),
    }
    servers: list[Server] = []
    try:
        servers.append(services.start_auth(stage.stack, auth_port, environment))
        servers.append(services.start_api(stage.stack, api_port, environment, "api-with-tokens"))
        password = secrets.token_urlsafe(15)
        await _let_in(stage, password)
        for server in servers:
            await _ready(stage, server)
        async with AsyncExitStack() as clients:
            issuer, api = [
                await clients.enter_async_context(
                    httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None)
                )
                for port in (auth_port, api_port)
            ]
            await _play(stage, issuer, api, password)
    finally:
        process.stop(servers)


async def _let_in(stage: Stage, password: str) -> None:
    pool = connect(stage.stack.endpoints.auth_database_url, pool_size=1)
    try:
        realm, who = Realm(pool, stage.desk.keys), at_the_machine("demo")
        roles = {Role.CUSTOMER}
        await user.create(realm, who, Passwords(), NAME, password, roles, month.LARGE)
    finally:
        await pool.dispose()


async def _ready(stage: Stage, server: Server) -> None:
    async def ready() -> bool:
        process.check_running(server)
        return server.ready()

    await stage.until(f"{server.name} is ready", ready)


async def _play(
    stage: Stage, issuer: httpx2.AsyncClient, api: httpx2.AsyncClient, password: str
) -> None:
    mine = await month.of(stage, month.LARGE)
    anothers = await month.of(stage, month.WITHOUT_MONEY)
    answer = await issuer.post("/auth/login", json={"name": NAME, "password": password})
    expect("the status of the log-in", answer.status_code, 200)
    shown = {"Authorization": f"Bearer {answer.json()['accessToken']}"}

    async def asked(path: str, headers: dict[str, str], status: int) -> dict[str, Any]:
        # Whoever was up first could not have the keys of the other yet: 503, for five seconds.
        got = await stage.until(f"an answer to {path}", partial(_answer, api, path, headers))
        assert got is not None, "until it is there"
        expect(f"the status of {path}", got.status_code, status)
        found: dict[str, Any] = got.json()
        return found

    await asked(f"/{mine['id']}", {}, 401)
    seen = await asked(f"/{mine['id']}", shown, 200)
    expect("the invoice that it sees", (seen["id"], seen["total"]), (mine["id"], mine["total"]))
    stage.tell(
        f"Without a token: 401. {month.LARGE} sees its own invoice, of {seen['total']:,} KRW."
    )
    hidden = await asked(f"/{anothers['id']}", shown, 404)
    made_up = await asked("/01a1f857-5482-7274-a223-74af942aa356", shown, 404)
    expect("what is said of another's", hidden["title"], made_up["title"])
    stage.tell("Another's invoice: 404, the same as one that there never was.")
    refused = await api.post(
        f"/api/v1/invoices/{mine['id']}/approve",
        json={"reason": "it is mine"},
        headers={**shown, "Idempotency-Key": "approve-my-own"},
    )
    expect("the status of an approval by a customer", refused.status_code, 403)
    stage.tell(f"To approve it by itself: 403, {refused.json()['detail']}")


async def _answer(
    api: httpx2.AsyncClient, path: str, headers: dict[str, str]
) -> httpx2.Response | None:
    got = await api.get(f"/api/v1/invoices{path}", headers=headers)
    return None if got.status_code == 503 else got


STEPS = (("A customer's token: its own invoice, and another's", own_and_anothers),)
"""Title and step."""
