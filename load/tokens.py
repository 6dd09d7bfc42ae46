"""What it costs that callers show a token: the same payments and usage events at two APIs beside
each other, in turns, of which one asks for tokens of our own issuer."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import orjson

from dev import process, services
from dev.process import Server
from domain.access import at_the_machine
from domain.roles import Role
from load.connection import Connection
from load.figures import Group
from load.meter import IN_FLIGHT, Meter, Subject
from load.payments import Orders, pay_by_card
from load.size import Size
from load.system import System
from load.usage import SINGLES, document
from runtime import realm
from runtime.settings import Settings
from service import user
from service.password import Passwords
from store import database

PAYMENT, PAYMENT_TOKEN = "card payment without a token", "card payment with a token"
EVENT, EVENT_TOKEN = "usage event without a token", "usage event with a token"
LIFE_SECONDS = 600
"""The longest there is: a run is over before."""
GOAL = 0.95


async def measure(system: System, meter: Meter, size: Size) -> Group:
    """Rates at 16 in flight, and times alone, with ÷ without."""
    async with _asking_for_tokens(system) as (port, token):
        without = [Connection(system.api_port) for _ in range(IN_FLIGHT)]
        shown = {"Authorization": f"Bearer {token}"}
        with_token = [Connection(port, shown) for _ in range(IN_FLIGHT)]
        orders = Orders(without, items=[{"sku": "UNTRACKED", "quantity": 2, "unitPrice": 1000}])
        first = max(size.together, IN_FLIGHT)
        await orders.make(2 * (size.rounds * (size.together + size.alone) + first))

        def paying(callers: list[Connection], name: str) -> Subject:
            async def pay(caller: int) -> None:
                await pay_by_card(callers[caller], orders.next())

            return Subject(name, pay, size.together, size.alone)

        def reporting(callers: list[Connection], name: str) -> Subject:
            async def report(caller: int) -> None:
                sent = orjson.dumps(document())
                await callers[caller].send("POST", "/api/v1/usage", sent, expect=202)

            return Subject(name, report, size.together * SINGLES, size.alone)

        found = await meter.compare(
            [
                paying(without, PAYMENT),
                paying(with_token, PAYMENT_TOKEN),
                reporting(without, EVENT),
                reporting(with_token, EVENT_TOKEN),
            ],
            size.rounds,
        )
    group = Group("Tokens")
    group.take(*found.values())
    for what, plain, shows in (
        ("payments", found[PAYMENT], found[PAYMENT_TOKEN]),
        ("usage events", found[EVENT], found[EVENT_TOKEN]),
    ):
        group.ratio(f"{what} with tokens / without", shows.rates, plain.rates, GOAL)
        name = f"{what} alone, p50 with tokens / without"
        group.ratio(name, shows.alone, plain.alone, 1 / GOAL, at_most=True)
    return group


@asynccontextmanager
async def _asking_for_tokens(system: System) -> AsyncIterator[tuple[int, str]]:
    """The port of another API of the same system, and a token that it believes."""
    auth_port, api_port = process.free_port(), process.free_port()
    told = services.environment(
        system.stack,
        api_wait_seconds=60,
        auth_token_seconds=LIFE_SECONDS,
        **services.believing(f"http://127.0.0.1:{auth_port}"),
    )
    servers: list[Server] = []
    try:
        servers.append(services.start_auth(system.stack, auth_port, told))
        servers.append(services.start_api(system.stack, api_port, told, "api-with-tokens"))
        await asyncio.to_thread(process.wait_until_ready, servers)
        yield api_port, await _token(auth_port)
    finally:
        await asyncio.to_thread(process.stop, servers)


async def _token(auth_port: int) -> str:
    """Of a service that logs in: a session of ours, so each write asks whether it has ended."""
    name, password = f"load-{uuid4().hex}", secrets.token_urlsafe(15)
    settings = Settings()
    pool = database.connect(settings.auth_database_url, pool_size=1)
    try:
        mine, who = realm.of(settings, pool), at_the_machine("load")
        await user.create(mine, who, Passwords(), name, password, {Role.SERVICE}, None)
    finally:
        await pool.dispose()
    asked = orjson.dumps({"name": name, "password": password})
    answer = await Connection(auth_port).send("POST", "/auth/login", asked, expect=200)
    return str(orjson.loads(answer)["accessToken"])
