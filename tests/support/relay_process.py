"""A relay, or a consumer, in a process of its own, so that tests can kill and freeze it.

python -m tests.support.relay_process activity   a relay, without Temporal
python -m tests.support.relay_process worker     a worker for the task queue `outbox`
python -m tests.support.relay_process ranking    the consumer of completed orders
"""

import asyncio
import signal
import sys
from datetime import timedelta

from temporalio.testing import ActivityEnvironment

from activities.outbox import OutboxActivities, RelayTurn
from runtime import ranking_consumer, temporal
from runtime.settings import Settings
from runtime.workers import outbox_worker, running
from store import database

LONG = timedelta(hours=1)


async def run_activity(settings: Settings) -> None:
    pool = database.connect(settings.database_url, pool_size=2)
    outbox = OutboxActivities(pool, settings.kafka)
    while True:
        try:
            await ActivityEnvironment().run(outbox.relay, RelayTurn(LONG))
        except Exception as error:
            # What Temporal does: again after every failure. One is that its transaction was ended
            # while it was frozen.
            print(repr(error), flush=True)
            await asyncio.sleep(0.2)


async def run_worker(settings: Settings) -> None:
    client = await temporal.connect_when_ready(settings)
    pool = database.connect(settings.database_url, pool_size=2)
    async with running(outbox_worker(client, pool, settings.kafka)):
        await asyncio.Event().wait()


async def run_ranking(settings: Settings) -> None:
    pool, stop = database.connect(settings.database_url, pool_size=2), asyncio.Event()
    # Told to stop it hands over, so that the next test need not wait until it is believed dead.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await ranking_consumer.consume_until(stop, pool, settings.kafka)


KINDS = {"activity": run_activity, "worker": run_worker, "ranking": run_ranking}

if __name__ == "__main__":
    asyncio.run(KINDS[sys.argv[1]](Settings()))
