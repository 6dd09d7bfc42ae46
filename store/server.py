"""What PostgreSQL says of itself."""

from sqlalchemy import func, select, text

from store.database import Transaction
from store.tables import metadata


async def version(tx: Transaction) -> str:
    """As `18.6`, without the words that distributions add."""
    said = await tx.scalar(select(func.current_setting("server_version")))
    return str(said).split()[0]


async def user(tx: Transaction) -> str:
    """Who we are to it."""
    return str(await tx.scalar(select(func.current_user())))


async def room(tx: Transaction) -> int:
    """How many connections we may have, all of our processes and whoever else is here together."""
    return int(await tx.scalar(_ROOM) or 0)


async def missing_columns(tx: Transaction) -> list[str]:
    """What this version reads and writes, and the database has not: tables, and columns of those
    that are there, as `payments` and `payments.status`."""
    rows = await tx.execute(_COLUMNS)
    there = {(table, column) for table, column in rows}
    tables = {table for table, _ in there}
    return sorted(
        [name for name in metadata.tables if name not in tables]
        + [
            f"{name}.{column}"
            for name, table in metadata.tables.items()
            for column in (each.name for each in table.c)
            if name in tables and (name, column) not in there
        ]
    )


async def revision(tx: Transaction) -> str | None:
    """The last migration that has run. The owner's to read, and nobody else's."""
    if await tx.scalar(select(func.to_regclass("alembic_version"))) is None:
        return None
    found = await tx.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


_ROOM = text("""
    SELECT LEAST(
        CAST(current_setting('max_connections') AS int)
            - CAST(current_setting('superuser_reserved_connections') AS int)
            - COALESCE(CAST(current_setting('reserved_connections', true) AS int), 0),
        (SELECT NULLIF(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
        (SELECT NULLIF(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
    )
""")
_COLUMNS = text("""
    SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND a.attnum > 0 AND NOT a.attisdropped
""")
