"""Alembic's entry: runs the migrations as the role that owns the tables."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from runtime.settings import Settings
from store.database import connect
from store.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def _migrate() -> None:
    url = context.config.attributes.get("url") or Settings().database_owner_url
    database = connect(url, pool_size=1)
    async with database.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await database.dispose()


asyncio.run(_migrate())
