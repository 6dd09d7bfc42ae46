"""Connections: whoever stops in the middle of a transaction keeps nobody else waiting."""

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from runtime.settings import Settings
from store.database import Database, reading
from tests.databases import connected

LOCK = select(func.pg_advisory_xact_lock(20_261_120))


async def test_the_locks_of_a_frozen_process_are_free_again_soon(database: Database) -> None:
    async with database.connect() as frozen:
        await frozen.execute(LOCK)

        async with database.begin() as tx:
            # Waits for the lock; a statement of ours may wait 10 s.
            await tx.execute(LOCK)

        with pytest.raises(DBAPIError):
            await frozen.execute(select(1))


async def test_a_statement_takes_no_longer_than_it_may(settings: Settings) -> None:
    async with (
        connected(settings.database_url, statement_seconds=1) as impatient,
        impatient.connect() as tx,
    ):
        with pytest.raises(TimeoutError):
            await tx.execute(select(func.pg_sleep(3600)))


async def test_whoever_only_reads_sees_one_moment_and_cannot_write(settings: Settings) -> None:
    """Nor does a connection that was used so remember it."""
    isolation = text("SELECT current_setting('transaction_isolation')")
    write = text("INSERT INTO invoice_numbers VALUES ('test', 1) ON CONFLICT DO NOTHING")
    async with connected(settings.database_url) as single:
        for _ in range(2):
            async with reading(single).connect() as tx:
                assert await tx.scalar(isolation) == "repeatable read"
                with pytest.raises(DBAPIError, match="read-only transaction"):
                    await tx.execute(write)
            async with single.connect() as tx:
                assert await tx.scalar(isolation) == "read committed"
                await tx.execute(write)
