"""The outbox: events commit with their state, counted without gaps, seen in order by any reader."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from domain.access import SYSTEM
from domain.event import JSON, Event, Origin, OutboxEvent, Topic
from store import outbox, tables
from store.database import Database
from tests.support.samples import an_event, new_id


class PlannedAbort(Exception):
    """A transaction that is given up after its events were appended."""


async def rows_of(database: Database, *aggregate_ids: str) -> list[OutboxEvent]:
    async with database.engine.connect() as tx:
        return await outbox.of_aggregates(tx, aggregate_ids)


def versions(rows: Sequence[OutboxEvent], aggregate_id: str) -> list[int]:
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

    async with database.begin(SYSTEM) as tx:
        await outbox.append(tx, event)

    [row] = await rows_of(database, payment_id)
    assert (row.topic, row.aggregate_id, row.customer_id) == (event.topic, payment_id, "c-1")
    assert row.data == event.data
    assert (row.idempotency_key, row.traceparent) == ("key-1", "00-trace")
    assert row.aggregate_version == 1
    assert row.published_at is None


async def test_one_statement_numbers_the_events_of_each_aggregate(database: Database) -> None:
    order_id, payment_id = new_id(), new_id()
    mixed = [order_id, payment_id, order_id, order_id, payment_id]

    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
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
    async with database.begin(SYSTEM) as tx:
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
    await tell(database, [an_event(payment_id, number) for number in range(5)], abort=False)

    async def unpublished() -> list[OutboxEvent]:
        async with database.engine.connect() as tx:
            events = [each.event for each in await outbox.unpublished(tx, 1_000_000)]
        return [event for event in events if event.aggregate_id == payment_id]

    read = await unpublished()
    assert [row.data["number"] for row in read] == [0, 1, 2, 3, 4]

    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            await outbox.mark_published(tx, [read[0].id, read[2].id])

    assert [row.data["number"] for row in await unpublished()] == [1, 3, 4]
    marked = [row.published_at for row in await rows_of(database, payment_id)]
    assert [when is not None for when in marked] == [True, False, True, False, False]


async def test_a_second_mark_keeps_the_time_of_the_first(database: Database) -> None:
    payment_id = new_id()
    await tell(database, [an_event(payment_id)], abort=False)
    times = []
    for _ in range(2):
        [row] = await rows_of(database, payment_id)
        async with database.begin(SYSTEM) as tx:
            await outbox.mark_published(tx, [row.id])
        [row] = await rows_of(database, payment_id)
        times.append(row.published_at)

    assert times[0] == times[1]


async def test_the_age_of_the_event_that_waits_longest(database: Database, owner: Database) -> None:
    payment_id = new_id()
    await tell(database, [an_event(payment_id)], abort=False)
    [row] = await rows_of(database, payment_id)
    mine = update(tables.outbox).where(tables.outbox.c.id == row.id)
    others = update(tables.outbox).where(tables.outbox.c.id != row.id)
    async with owner.engine.connect() as tx:  # The events of other tests get back as they were.
        await tx.execute(others.values(published_at=func.now()))
        await tx.execute(mine.values(occurred_at=func.now() - timedelta(days=365)))
        assert await outbox.oldest_unpublished_age_seconds(tx) == 365 * 86_400
        await outbox.refuse(tx, {row.id: "It is refused."})
        assert await outbox.oldest_unpublished_age_seconds(tx) == 365 * 86_400
        await outbox.mark_published(tx, [row.id])
        assert await outbox.oldest_unpublished_age_seconds(tx) == 0


async def waiting(database: Database, *aggregate_ids: str) -> dict[str, list[tuple[JSON, bool]]]:
    """Which events a relay would read now, and whether it passes them over."""
    async with database.engine.connect() as tx:
        rows = await outbox.unpublished(tx, 1_000_000)
    return {
        each: [
            (row.event.data["number"], row.behind) for row in rows if row.event.aggregate_id == each
        ]
        for each in aggregate_ids
    }


async def test_behind_a_refused_event_its_own_topic_and_aggregate_wait(database: Database) -> None:
    first, other = new_id(), new_id()
    there = [an_event(first, number) for number in range(3)]
    elsewhere = [an_event(first, 3, Topic.REFUND_COMPLETED), an_event(other, 4)]
    await tell(database, [*there, *elsewhere], abort=False)
    rows = await rows_of(database, first)

    async with database.begin(SYSTEM) as tx:
        await outbox.refuse(tx, {rows[1].id: "It is too large."})

    assert await waiting(database, first, other) == {
        first: [(0, False), (2, True), (3, False)],
        other: [(4, False)],
    }
    again = await rows_of(database, first)
    assert [row.refusal for row in again] == [None, "It is too large.", None, None]


async def test_a_refused_event_that_is_taken_frees_its_topic(database: Database) -> None:
    ids = [new_id() for _ in range(4)]
    topics = [Topic.INVOICE_PAID, Topic.INVOICE_PAID, Topic.INVOICE_PAID, Topic.INVOICE_OVERDUE]
    for id_, topic in zip(ids, topics, strict=True):
        await tell(database, [an_event(id_, topic=topic)], abort=False)
    rows = await rows_of(database, *ids)
    async with database.begin(SYSTEM) as tx:
        await outbox.refuse(tx, {row.id: "There is no such topic." for row in rows})
    assert await waiting(database, *ids) == {id_: [] for id_ in ids}

    async with database.begin(SYSTEM) as tx:
        await outbox.mark_published(tx, [rows[0].id])

    one = [(0, False)]
    assert await waiting(database, *ids) == dict(zip(ids, ([], one, one, []), strict=True))


async def test_of_the_refused_events_the_first_of_each_aggregate_is_tried_again_in_turn(
    database: Database,
) -> None:
    left_by_others = update(tables.outbox).where(tables.outbox.c.refused_at.is_not(None))
    async with database.begin(SYSTEM) as tx:
        await tx.execute(left_by_others.values(published_at=func.now()))
    ids = [new_id() for _ in range(3)]
    for id_ in ids:
        await tell(database, [an_event(id_, number) for number in range(2)], abort=False)
        for row in await rows_of(database, id_):
            async with database.begin(SYSTEM) as tx:
                await outbox.refuse(tx, {row.id: "why"})

    tried = []
    for _ in range(4):
        async with database.begin(SYSTEM) as tx:
            await outbox.try_again(tx, 1)
        found = await waiting(database, *ids)
        [id_] = [each for each, events in found.items() if events]
        assert found[id_] == [(0, False)]
        tried.append(id_)
        async with database.begin(SYSTEM) as tx:
            first, _ = await rows_of(database, id_)
            await outbox.refuse(tx, {first.id: "why"})

    assert tried == [*ids, ids[0]]


async def test_what_is_published_is_not_refused_any_more(database: Database) -> None:
    payment_id = new_id()
    await tell(database, [an_event(payment_id)], abort=False)
    [row] = await rows_of(database, payment_id)
    async with database.begin(SYSTEM) as tx:
        await outbox.mark_published(tx, [row.id])
        before = await outbox.count_refused(tx)
        # By another relay, which was frozen in between.
        await outbox.refuse(tx, {row.id: "late"})
        assert await outbox.count_refused(tx) == before

    [row] = await rows_of(database, payment_id)
    assert (row.refused_at, row.refusal) == (None, None)
