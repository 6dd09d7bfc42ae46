"""Our own issuer as an operator's command finds it: it needs a database and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cli.system import settings_found
from runtime import realm
from runtime.settings import Settings
from service.realm import Realm
from store import database


@dataclass(frozen=True)
class Keeper:
    """Whoever has the database in their hands: the first admin can come from nowhere else."""

    settings: Settings
    realm: Realm


@asynccontextmanager
async def connected() -> AsyncIterator[Keeper]:
    """Raises `ConfigurationError` where nothing runs."""
    settings = settings_found()
    pool = database.connect(settings.database_url, pool_size=1)
    try:
        yield Keeper(settings, realm.of(settings, pool))
    finally:
        await pool.dispose()
