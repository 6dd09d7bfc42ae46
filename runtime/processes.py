"""A worker process from start to stop."""

import asyncio
from datetime import timedelta

import structlog

from runtime import gateways, temporal
from runtime.settings import Settings
from runtime.sweeper import sweep_for_ever
from runtime.workers import outbox_worker, payments_worker, running
from store import database

log = structlog.get_logger()


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Run every workflow and activity, the relays and the sweeper, until told to stop."""
    client = await temporal.connect_when_ready(settings)
    pool = database.connect(settings.database_url, settings.database_pool_size)
    connected = gateways.connect(settings)
    workers = (
        payments_worker(client, pool, connected),
        outbox_worker(client, pool, settings.kafka_bootstrap_servers),
    )
    every = timedelta(seconds=settings.sweep_seconds)
    try:
        async with running(*workers):
            sweeping = asyncio.create_task(
                sweep_for_ever(client, pool, gateways.waits(settings), every)
            )
            log.info("the worker is ready", temporal=settings.temporal_address)
            await stop.wait()
            sweeping.cancel()
    finally:
        for gateway in connected.values():
            await gateway.close()
        await pool.dispose()
