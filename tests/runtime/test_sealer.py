"""The sealer of a worker: what is noted is sealed by itself, and its anchor goes to Kafka."""

import asyncio

from sqlalchemy import select

from domain.access import SYSTEM
from domain.audit import GENESIS, Seal
from domain.event import Topic
from runtime.sealer import seal_for_ever
from runtime.settings import Settings
from store import audit
from store.database import Database
from store.tables import outbox
from tests.support.audit import an_entry
from tests.support.conditions import eventually
from tests.support.databases import connected, settings_of_its_own
from tests.support.schemas import complaints


async def sealed(database: Database) -> Seal | None:
    """The last seal, once nothing waits for one."""
    async with database.read(SYSTEM) as tx:
        last = await audit.last_seal(tx)
        waiting = await audit.unsealed(tx, last or GENESIS, 1, all_=True)
    return None if waiting else last


async def test_what_is_noted_is_sealed_and_told(settings: Settings) -> None:
    async with settings_of_its_own(settings) as own, connected(own.database_url, 4) as database:
        sealing = [asyncio.create_task(seal_for_ever(database)) for _ in range(2)]
        for _ in range(2):
            async with database.begin(SYSTEM) as tx:
                await audit.append(tx, an_entry())
            last = await eventually(lambda: sealed(database))
        for each in sealing:
            each.cancel()
        await asyncio.wait(sealing)

        async with database.read(SYSTEM) as tx:
            told = (await tx.execute(select(outbox).order_by(outbox.c.id))).all()
    assert last is not None
    assert [each.topic for each in told] == [Topic.AUDIT_SEALED] * last.n
    assert [each.aggregate_version for each in told] == list(range(1, last.n + 1))
    assert told[-1].data["seal"] == last.n
    assert told[-1].data["hash"] == last.hash.hex()
    assert [found for each in told for found in complaints(Topic.AUDIT_SEALED, each.data)] == []
