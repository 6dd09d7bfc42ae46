"""A worker process that settles and pays, until it is killed:
`python -m tests.support.settling_worker`."""

import asyncio
import sys

from runtime import gateways, temporal
from runtime.settings import Settings
from runtime.workers import payments_worker, running, settlement_worker
from store import database


async def main() -> None:
    settings = Settings()
    client = await temporal.connect_when_ready(settings)
    pool = database.connect(settings.database_url, pool_size=10)
    workers = (
        payments_worker(client, pool, gateways.connect(settings)),
        settlement_worker(client, pool),
    )
    async with running(*workers):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
