"""The outbox: events commit with their state, counted without gaps, seen in order by any reader."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, func, update

from domain.event import Event, Origin, Topic, shard_of
from store import outbox, tables
from store.database import Database
from tests.samples import an_event, new_id


class PlannedAbort(Exception):
    """A transaction that is given up after its events were appended."""


async def rows_of(database: Database, *aggregate_ids: str) -> Sequence[Row[Any]]:
    async with database.connect() as tx:
        return await outbox.of_aggregates(tx, aggregate_ids)


def versions(rows: Sequence[Row[Any]], aggregate_id: str) -> list[int]:
    return [row.aggregate_version for row in rows if row.aggregate_id == aggregate_id]


async def test_an_event_is_stored_as_it_was_told(database: Database) -> None:
    payment_id = new_id()
    event = Event(
        Topic.PAYMENT_FAILED,
        payment_id,
        "c-1",
        {"amount": 10**12, "name": "카드 ₩", "nothing": None, "items": [1, {"a": True}]},
        Origin("key-1", "00-trace"),
    )

    async with database.begin() as tx:
        await outbox.append(tx, event)

    [row] = await rows_of(database, payment_id)
    assert (row.topic, row.aggregate_id, row.customer_id) == (event.topic, payment_id, "c-1")
    assert row.data == event.data
    assert (row.idempotency_key, row.traceparent) == ("key-1", "00-trace")
    assert (row.shard, row.aggregate_version) == (shard_of(payment_id), 1)
    assert row.published_at is None


async def test_one_statement_numbers_the_events_of_each_aggregate(database: Database) -> None:
    order_id, payment_id = new_id(), new_id()
    mixed = [order_id, payment_id, order_id, order_id, payment_id]

    for _ in range(2):
        async with database.begin() as tx:
            await outbox.append(tx, *(an_event(each, number) for number, each in enumerate(mixed)))

    rows = await rows_of(database, order_id, payment_id)
    assert [row.aggregate_id for row in rows] == mixed * 2, "ids follow the order of the arguments"
    assert versions(rows, order_id) == [1, 2, 3, 4, 5, 6]
    assert versions(rows, payment_id) == [1, 2, 3, 4]


async def test_an_aborted_transaction_leaves_no_event_and_no_gap(database: Database) -> None:
    payment_id = new_id()

    with pytest.raises(PlannedAbort):
        await tell(database, [an_event(payment_id)], abort=True)
    await tell(database, [an_event(payment_id)], abort=False)

    assert versions(await rows_of(database, payment_id), payment_id) == [1]


async def tell(database: Database, events: Sequence[Event], abort: bool) -> None:
    async with database.begin() as tx:
        await outbox.append(tx, *events)
        if abort:
            raise PlannedAbort


async def test_8_writers_with_aborts_are_read_in_order_and_without_gaps_at_any_moment(
    database: Database,
) -> None:
    aggregates = [new_id() for _ in range(3)]
    dice = random.Random(7)
    plans = [
        [(dice.choices(aggregates, k=dice.randint(1, 3)), dice.random() < 0.3) for _ in range(40)]
        for _ in range(8)
    ]
    writing = asyncio.Event()

    async def write(plan: list[tuple[list[str], bool]]) -> int:
        committed = 0
        for chosen, abort in plan:
            try:
                await tell(database, [an_event(each) for each in chosen], abort)
                committed += len(chosen)
            except PlannedAbort:
                pass
        return committed

    async def watch() -> int:
        """A relay reads by id without locks: whatever it sees must begin at 1 and have no hole."""
        looked = 0
        while not writing.is_set():
            rows = await rows_of(database, *aggregates)
            for each in aggregates:
                seen = versions(rows, each)
                assert seen == list(range(1, len(seen) + 1))
            looked += 1
        return looked

    watching = asyncio.create_task(watch())
    committed = sum(await asyncio.gather(*(write(plan) for plan in plans)))
    writing.set()

    assert await watching > 10
    rows = await rows_of(database, *aggregates)
    assert len(rows) == committed
    assert sum(len(versions(rows, each)) for each in aggregates) == committed


async def test_writers_that_meet_in_several_aggregates_do_not_deadlock(database: Database) -> None:
    first, second = new_id(), new_id()
    there = [an_event(first), an_event(second)]

    await asyncio.gather(
        *(tell(database, there if number % 2 else there[::-1], False) for number in range(40))
    )

    rows = await rows_of(database, first, second)
    assert versions(rows, first) == versions(rows, second) == list(range(1, 41))


async def test_what_is_published_is_not_read_again(database: Database) -> None:
    payment_id = new_id()
    shard = shard_of(payment_id)
    await tell(database, [an_event(payment_id, number) for number in range(5)], abort=False)

    async def waiting() -> list[Row[Any]]:
        async with database.connect() as tx:
            rows = await outbox.unpublished(tx, shard, 1_000_000)
        return [row for row in rows if row.aggregate_id == payment_id]

    read = await waiting()
    assert [row.data["number"] for row in read] == [0, 1, 2, 3, 4]

    for _ in range(2):
        async with database.begin() as tx:
            await outbox.mark_published(tx, [read[0].id, read[2].id])

    assert [row.data["number"] for row in await waiting()] == [1, 3, 4]
    marked = [row.published_at for row in await rows_of(database, payment_id)]
    assert [when is not None for when in marked] == [True, False, True, False, False]


async def test_a_second_mark_keeps_the_time_of_the_first(database: Database) -> None:
    payment_id = new_id()
    await tell(database, [an_event(payment_id)], abort=False)
    times = []
    for _ in range(2):
        [row] = await rows_of(database, payment_id)
        async with database.begin() as tx:
            await outbox.mark_published(tx, [row.id])
        [row] = await rows_of(database, payment_id)
        times.append(row.published_at)

    assert times[0] == times[1]


async def test_the_age_of_the_oldest_event_that_waits(database: Database, owner: Database) -> None:
    payment_id = new_id()
    await tell(database, [an_event(payment_id)], abort=False)
    [row] = await rows_of(database, payment_id)
    mine = tables.outbox.c.id == row.id
    a_year_ago = func.now() - timedelta(days=365)
    async with owner.begin() as tx:
        await tx.execute(update(tables.outbox).where(mine).values(occurred_at=a_year_ago))

    async with database.begin() as tx:
        assert await outbox.oldest_unpublished_age_seconds(tx) >= 364 * 86_400
        await outbox.mark_published(tx, [row.id])
        assert await outbox.oldest_unpublished_age_seconds(tx) < 364 * 86_400
