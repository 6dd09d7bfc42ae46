"""What tests do to a database beside the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from store import database as database_module
from store.database import Database, Transaction
from tests.conditions import eventually


async def execute(url: str, statement: str) -> list[str]:
    """One statement outside of a transaction: databases come and go by such ones."""
    database = database_module.connect(url, pool_size=1)
    async with database.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        result = await connection.execute(text(statement))
        rows = [str(row[0]) for row in result] if result.returns_rows else []
    await database.dispose()
    return rows


@asynccontextmanager
async def locked(owner_url: str, table: str) -> AsyncIterator[Transaction]:
    """Nobody else reads the table meanwhile; yields its owner's transaction."""
    owner = database_module.connect(owner_url, pool_size=1)
    async with owner.begin() as tx:
        await may_idle(tx)
        await tx.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield tx
    await owner.dispose()


async def may_idle(tx: Transaction) -> None:
    """It may be left open for as long as the test needs."""
    await tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


async def somebody_waits(tx: Transaction, table: str) -> None:
    """Wait until somebody wants to read the table."""
    waiting = text("""
        SELECT count(*) > 0 FROM pg_locks
        WHERE relation = CAST(:name AS regclass) AND NOT granted
    """)

    async def waits() -> bool:
        return bool(await tx.scalar(waiting, {"name": table}))

    await eventually(waits)


async def somebody_waits_for_a_row(database: Database) -> None:
    """Wait until a transaction waits for the end of another one."""
    waiting = text("""
        SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted
    """)

    async def waits() -> bool:
        async with database.connect() as tx:
            return bool(await tx.scalar(waiting))

    await eventually(waits)
