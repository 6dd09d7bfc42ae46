"""One issuer of our own for all tests here, and an API that believes it."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from api.app import create_app
from runtime.settings import Settings
from store.database import Database
from tests.conftest import served
from tests.support.own_issuer import OwnIssuer, own_issuer


@pytest.fixture(scope="session")
async def own(settings: Settings, database: Database) -> AsyncIterator[OwnIssuer]:
    async with own_issuer(settings, database) as running:
        yield running


@pytest.fixture(scope="session")
async def closed(own: OwnIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    """The API of that installation."""
    async with served(create_app(own.settings)) as http:
        yield http
