"""Events that arrive together share a transaction, and its fate only."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dev.process import free_port
from domain.access import SYSTEM
from domain.usage import LATE, Outcome
from service.group_commit import GroupCommit
from store import usage
from store.database import Database
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.usage import event, new_customer


async def test_who_arrives_during_a_transaction_shares_the_next(database: Database) -> None:
    customer_id = await new_customer(database)
    group_commit = GroupCommit(database, LATE)

    await asyncio.gather(*(group_commit.ingest(event(customer_id)) for _ in range(200)))

    transactions = text(
        "SELECT count(*), count(DISTINCT CAST(xmin AS text)) FROM usage_events "
        "WHERE customer_id = :customer_id"
    )
    async with database.engine.connect() as tx:
        rows = await tx.execute(transactions, {"customer_id": customer_id})
        events, used = rows.one()
    assert events == 200
    assert used <= 2


async def test_a_transaction_that_fails_fails_for_everybody_in_it_and_no_longer() -> None:
    async with connected(f"postgresql://nobody@127.0.0.1:{free_port()}/none") as nowhere:
        group_commit = GroupCommit(nowhere, LATE)

        for _ in range(2):
            failed = await asyncio.gather(
                *(group_commit.ingest(event("c")) for _ in range(5)), return_exceptions=True
            )
            assert [type(each) for each in failed] == [ConnectionRefusedError] * 5
        with pytest.raises(ConnectionRefusedError):
            await group_commit.ingest(event("c"))


async def test_a_lost_connection_fails_those_whose_statement_it_had_and_nobody_else(
    database: Database,
) -> None:
    customer_id = await new_customer(database)
    group_commit = GroupCommit(database, LATE)
    taken, free = event(customer_id, "taken"), event(customer_id, "free")

    async with database.begin(SYSTEM) as tx:
        await usage.ingest(tx, [taken])
        holder = await tx.scalar(text("SELECT pg_backend_pid()"))
        lost = asyncio.create_task(group_commit.ingest(taken))
        behind = await eventually(lambda: _behind(database, holder))
        next_one = asyncio.create_task(group_commit.ingest(free))
        await tx.execute(text("SELECT pg_terminate_backend(:behind)"), {"behind": behind})
        with pytest.raises(DBAPIError):
            await lost
        assert (await next_one).outcome is Outcome.ACCEPTED


async def _behind(database: Database, holder: object) -> object:
    """Who waits for this one."""
    waiting = text("SELECT pid FROM pg_stat_activity WHERE :holder = ANY(pg_blocking_pids(pid))")
    # Of its own: within a transaction this view stays as it was.
    async with database.engine.connect() as tx:
        return await tx.scalar(waiting, {"holder": holder})
