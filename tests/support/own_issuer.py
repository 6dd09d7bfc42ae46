"""Our own issuer as tests need it: served on loopback, so that the API asks it as it asks any."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import uvicorn
from fastapi import FastAPI

from auth.app import create_app
from domain.access import SYSTEM
from domain.roles import Role
from domain.user import User
from runtime import realm
from runtime.settings import Settings
from service.password import Passwords
from service.realm import Realm
from store import customer, user
from store.database import Database, connect
from tests.support.conditions import eventually
from tests.support.samples import new_id

PASSWORD = "correct horse battery staple"
WRONG = "incorrect horse battery staple"
CLIENT = "console"


class _Server(uvicorn.Server):
    """Leaves the signals of the test process alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class OwnIssuer:
    """`realm` acts as its own role, `database` as the application's."""

    url: str
    app: FastAPI
    settings: Settings
    realm: Realm
    database: Database
    password_hash: str

    def at(self, ip: str | None = None) -> httpx2.AsyncClient:
        """Somebody who asks from an address, of their own unless one is given."""
        transport = httpx2.ASGITransport(
            app=self.app, raise_app_exceptions=False, client=(ip or an_address(), 1)
        )
        return httpx2.AsyncClient(transport=transport, base_url=self.url, timeout=None)

    async def somebody(self, *roles: Role, customer_id: str | None = None) -> User:
        """With the password `PASSWORD`."""
        if customer_id is not None:
            async with self.database.begin(SYSTEM) as tx:
                await customer.put(tx, customer_id)
        async with self.realm.database.begin(SYSTEM) as tx:
            name, kind = f"u-{uuid4().hex}", set(roles or (Role.OPERATOR,))
            made = await user.add(tx, new_id(), name, self.password_hash, kind, customer_id)
        assert made is not None
        return made

    async def logged_in(self, who: User, http: httpx2.AsyncClient | None = None) -> dict[str, Any]:
        answer = await login(http or self.at(), who.name)
        assert answer.status_code == 200, answer.text
        session: dict[str, Any] = answer.json()
        return session


def an_address() -> str:
    """Of nobody else."""
    return f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"


async def login(http: httpx2.AsyncClient, name: str, password: str = PASSWORD) -> httpx2.Response:
    return await http.post("/auth/login", json={"name": name, "password": password})


async def refresh(http: httpx2.AsyncClient, token: str, client_id: str = CLIENT) -> httpx2.Response:
    return await http.post("/auth/refresh", json={"refreshToken": token, "clientId": client_id})


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['accessToken']}"}


def believing(settings: Settings, url: str, **more: Any) -> Settings:
    """The same, of an installation with our own issuer at this address."""
    issuer = {"alias": "own", "issuer": url, "audience": "billing"}
    mine = {"oidc_issuers": [issuer], "auth_issuer": url, **more}
    return Settings.model_validate({**settings.model_dump(), **mine})


@asynccontextmanager
async def own_issuer(
    settings: Settings, database: Database, **more: Any
) -> AsyncIterator[OwnIssuer]:
    """`billing auth` in this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    mine = believing(settings, url, **more)
    app = create_app(mine)
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve([listening]))

    async def started() -> bool:
        return server.started

    await eventually(started)
    its_own = connect(mine.auth_database_url, pool_size=5)
    try:
        # What is hashed from here on, a test has asked for.
        await app.state.context.passwords.start()
        kept = await Passwords().hashed(PASSWORD)
        yield OwnIssuer(url, app, mine, realm.of(mine, its_own), database, kept)
    finally:
        server.should_exit = True
        await serving
        await its_own.dispose()
