"""The inbox: of however many deliveries of an event, one has an effect."""

import asyncio

from domain.access import SYSTEM
from store import inbox
from store.database import Database
from tests.support.samples import new_id


async def take(database: Database, consumer: str, event_id: str) -> bool:
    async with database.begin(SYSTEM) as tx:
        return await inbox.take(tx, consumer, event_id)


async def test_of_twenty_deliveries_at_once_one_is_taken(database: Database) -> None:
    consumer, event_id = new_id(), new_id()

    taken = await asyncio.gather(*(take(database, consumer, event_id) for _ in range(20)))

    assert taken.count(True) == 1


async def test_each_consumer_takes_an_event_for_itself(database: Database) -> None:
    event_id = new_id()

    assert await take(database, new_id(), event_id)
    assert await take(database, new_id(), event_id)


async def test_what_was_rolled_back_was_not_taken(database: Database) -> None:
    consumer, event_id = new_id(), new_id()
    async with database.engine.connect() as connection, connection.begin() as transaction:
        assert await inbox.take(connection, consumer, event_id)
        await transaction.rollback()

    assert await take(database, consumer, event_id)


async def test_a_consumer_that_forgets_takes_everything_again(database: Database) -> None:
    consumer, other, event_id = new_id(), new_id(), new_id()
    assert await take(database, consumer, event_id)
    assert await take(database, other, event_id)

    async with database.begin(SYSTEM) as tx:
        assert await inbox.forget(tx, consumer) == 1

    assert await take(database, consumer, event_id)
    assert not await take(database, other, event_id)
