"""What tests of the service share."""

from collections.abc import AsyncIterator

import pytest

from runtime.settings import Settings
from store.database import Database
from tests.support.databases import connected, settings_of_its_own


@pytest.fixture
async def own(settings: Settings) -> AsyncIterator[Settings]:
    """A database whose trail is this test's alone."""
    async with settings_of_its_own(settings) as mine:
        yield mine


@pytest.fixture
async def mine(own: Settings) -> AsyncIterator[Database]:
    """The same as the application sees it."""
    async with connected(own.database_url, pool_size=20) as pool:
        yield pool


@pytest.fixture
async def its_owner(own: Settings) -> AsyncIterator[Database]:
    """The same as whoever owns its tables."""
    async with connected(own.database_owner_url) as pool:
        yield pool
