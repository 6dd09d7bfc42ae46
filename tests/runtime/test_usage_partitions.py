"""Partitions are there before their events."""

from datetime import UTC, datetime

from sqlalchemy import text

from domain.usage import LATE
from runtime import usage_partitions
from store.database import Database


async def test_months_are_made_from_the_oldest_event_to_two_ahead(database: Database) -> None:
    now = datetime(2050, 12, 31, 23, tzinfo=UTC)
    for _ in range(2):
        await usage_partitions.make(database, now, LATE)

    partitions = text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'usage_events'::regclass ORDER BY 1"
    )
    async with database.engine.connect() as tx:
        names = [name for (name,) in await tx.execute(partitions)]
    made = [name for name in names if "usage_events_2049" < name < "usage_events_2052"]
    assert (made[0], made[-1], len(made)) == ("usage_events_2049_11", "usage_events_2051_02", 16)
