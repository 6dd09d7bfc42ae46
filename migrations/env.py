"""Alembic's entry: runs the migrations as the role that owns the tables."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from runtime.settings import Settings
from store.database import connect
from store.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        include_name=_is_ours,
    )
    with context.begin_transaction():
        context.run_migrations()


def _is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Partitions come and go with the months; their parent says what they look like."""
    return not (kind == "table" and name is not None and name.startswith("usage_events_"))


async def _migrate() -> None:
    url = context.config.attributes.get("url") or Settings().database_owner_url
    database = connect(url, pool_size=1)
    try:
        async with database.engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await database.dispose()


asyncio.run(_migrate())
