"""Events that arrive together share a transaction, and its fate only."""

import asyncio

import pytest
from sqlalchemy import text

from dev.process import free_port
from domain.usage import LATE
from service.group_commit import GroupCommit
from store.database import Database
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
