"""A database whose clock is ahead, or behind, for whoever connects through it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import event

from runtime.settings import Settings
from store.database import Database
from tests.support.databases import connected, execute


@asynccontextmanager
async def moved(settings: Settings, by: timedelta) -> AsyncIterator[Database]:
    """PostgreSQL looks for functions along a path: here ours comes before its own."""
    schema = f"clock_{uuid4().hex}"
    await execute(settings.database_owner_url, f"CREATE SCHEMA {schema}")
    await execute(settings.database_owner_url, f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC")
    await execute(
        settings.database_owner_url,
        f"CREATE FUNCTION {schema}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
        f"$$ SELECT pg_catalog.clock_timestamp() + interval '{by.total_seconds()} seconds' $$",
    )
    try:
        async with connected(settings.database_url, pool_size=2) as database:

            @event.listens_for(database.engine.sync_engine, "connect")
            def _look_there_first(connection: Any, _: object) -> None:
                cursor = connection.cursor()
                cursor.execute(f"SET search_path = {schema}, pg_catalog, public")
                cursor.close()
                connection.commit()

            yield database
    finally:
        await execute(settings.database_owner_url, f"DROP SCHEMA {schema} CASCADE")
