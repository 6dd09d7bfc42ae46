"""Webhooks of the PG are stored once."""

import asyncio
from uuid import uuid4

from domain.access import SYSTEM
from store import webhook
from store.database import Database


async def test_of_concurrent_copies_of_an_event_one_is_new(database: Database) -> None:
    event_id = f"evt_{uuid4().hex}"

    async def store(gateway: str) -> bool:
        async with database.begin(SYSTEM) as tx:
            stored = await webhook.store(tx, gateway, event_id, {"id": event_id}, None, None)
            return stored is not None

    assert (await asyncio.gather(*(store("simulator") for _ in range(8)))).count(True) == 1
    assert await store("another"), "each PG counts its own events"
