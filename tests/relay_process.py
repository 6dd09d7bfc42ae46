"""A relay in a process of its own, so that tests can kill and freeze it.

python -m tests.relay_process activity   the relays of all shards, without Temporal
python -m tests.relay_process worker     a worker for the task queue `outbox`
"""

import asyncio
import sys
from datetime import timedelta

from temporalio.testing import ActivityEnvironment

from activities.outbox import OutboxActivities, RelayTurn
from domain.event import OUTBOX_SHARDS
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import outbox_worker, running
from store import database

LONG = timedelta(hours=1)


async def run_activities(settings: Settings) -> None:
    pool = database.connect(settings.database_url, pool_size=OUTBOX_SHARDS)
    outbox = OutboxActivities(pool, settings.kafka_bootstrap_servers)

    async def relay(shard: int) -> None:
        """As Temporal does, again after every failure: PostgreSQL ends the session of a relay that
        was frozen for long in the middle of a transaction."""
        while True:
            try:
                await ActivityEnvironment().run(outbox.relay, RelayTurn(shard, LONG))
            except Exception as error:
                print(f"shard {shard}: {error!r}", flush=True)
                await asyncio.sleep(0.2)

    await asyncio.gather(*map(relay, range(OUTBOX_SHARDS)))


async def run_worker(settings: Settings) -> None:
    client = await temporal.connect_when_ready(settings)
    pool = database.connect(settings.database_url, pool_size=OUTBOX_SHARDS)
    async with running(outbox_worker(client, pool, settings.kafka_bootstrap_servers)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"activity": run_activities, "worker": run_worker}[sys.argv[1]](Settings()))
