"""Our own issuer as an operator's command finds it: it needs a database and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cli.settings import os_user
from cli.system import note, settings_with
from domain.access import Access, at_the_machine
from runtime import realm
from runtime.settings import Settings
from service.realm import Realm
from store import database


@dataclass(frozen=True)
class Keeper:
    """Whoever has the database in their hands: the first admin can come from nowhere else."""

    settings: Settings
    realm: Realm
    access: Access


@asynccontextmanager
async def connected() -> AsyncIterator[Keeper]:
    """Raises `ConfigurationError` where nothing runs. Outside `dev` it is noted, as what works past
    the API is."""
    settings = settings_with("auth_database_url")
    pool = database.connect(settings.auth_database_url, pool_size=1)
    who = at_the_machine(os_user())
    try:
        await note(settings, pool, who)
        yield Keeper(settings, realm.of(settings, pool), who)
    finally:
        await pool.dispose()
