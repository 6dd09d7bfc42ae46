"""A worker process from start to stop."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from runtime import (
    gateways,
    ranking_consumer,
    schedules,
    temporal,
    terms,
    usage_consumer,
    usage_partitions,
)
from runtime.settings import Settings
from runtime.sweeper import sweep_for_ever
from runtime.workers import outbox_worker, payments_worker, running, settlement_worker
from store import database

log = structlog.get_logger()

Result = TypeVar("Result")


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Run workflows and activities, relays, sweeper and consumers, until told to stop."""
    client = await _unless_stopped(stop, temporal.connect_when_ready(settings))
    if client is None:
        return
    pool = database.connect(settings.database_url, settings.database_pool_size)
    batch_pool = database.connect(
        settings.database_url, settings.database_pool_size, database.BATCH_SECONDS
    )
    connected = gateways.connect(settings)
    workers = (
        payments_worker(client, pool, connected),
        settlement_worker(client, batch_pool),
        outbox_worker(client, pool, settings.kafka_bootstrap_servers),
    )
    agreed = terms.of(settings)
    every = timedelta(seconds=settings.sweep_seconds)
    try:
        async with running(*workers):
            sweeping = asyncio.create_task(sweep_for_ever(client, pool, agreed, every))
            partitioning = asyncio.create_task(
                usage_partitions.make_for_ever(pool, settings.usage_late)
            )
            scheduling = asyncio.create_task(schedules.ensure_sooner_or_later(client, agreed))
            log.info("the worker is ready", temporal=settings.temporal_address)
            servers = settings.kafka_bootstrap_servers
            await asyncio.gather(
                ranking_consumer.consume_until(stop, pool, servers),
                usage_consumer.consume_until(stop, pool, servers, settings.usage_late),
            )
            scheduling.cancel()
            partitioning.cancel()
            sweeping.cancel()
    finally:
        for gateway in connected.values():
            await gateway.close()
        await pool.dispose()
        await batch_pool.dispose()


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """What `work` returns; None when told to stop before, as while Temporal cannot be reached."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()
