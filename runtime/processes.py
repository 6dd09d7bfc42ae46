"""A worker process from start to stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from temporalio.client import Client

from gateway.guard import GuardedGateway
from gateway.reports import Reports
from runtime import (
    complaints,
    dead_letter_consumer,
    gateway_watch,
    gateways,
    keys,
    memory,
    ranking_consumer,
    schedules,
    sealer,
    temporal,
    terms,
    topics,
    tracing,
    usage_consumer,
    usage_partitions,
)
from runtime.probes import Standing, listening
from runtime.settings import Settings
from runtime.sweeper import sweep_for_ever
from runtime.workers import (
    outbox_worker,
    payments_worker,
    running,
    settlement_worker,
    verification_worker,
    version_of,
)
from service import verification
from store import database
from store.database import Database

AGAIN_SECONDS = 1.0

log = structlog.get_logger()

Result = TypeVar("Result")


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Run workflows and activities, the relay, the sweeper and consumers, until told to stop."""
    standing = Standing(stop)
    async with tracing.sending(settings, "billing-worker"), listening(settings, standing):
        client = await _unless_stopped(stop, temporal.connect_when_ready(settings))
        if client is not None:
            await _work(settings, client, stop, standing)


async def _work(
    settings: Settings, client: Client, stop: asyncio.Event, standing: Standing
) -> None:
    pool = database.connect(settings.database_url, settings.database_pool_size)
    batch_pool = database.connect(
        settings.database_url, settings.database_pool_size, database.BATCH_SECONDS
    )
    connected = gateways.connect(settings)
    sources = verification.Sources(
        batch_pool,
        client,
        gateways.books(settings),
        verification.patience(timedelta(seconds=settings.sweep_seconds)),
    )
    version = version_of(settings)
    workers = (
        payments_worker(
            client,
            pool,
            connected,
            keys=keys.ring(settings),
            version=version,
            grace=gateways.longest_call(settings),
        ),
        settlement_worker(client, batch_pool, version=version),
        outbox_worker(client, pool, settings.kafka, version),
        verification_worker(client, partial(verification.verify, sources), version),
    )
    try:
        async with running(*workers), _duties(settings, client, pool, connected, stop):
            memory.freeze()
            standing.works(client, pool, [each.task_queue for each in workers])
            log.info("the worker is ready", temporal=settings.temporal_address)
            await stop.wait()
    finally:
        for gateway in connected.values():
            await gateway.close()
        await pool.dispose()
        await batch_pool.dispose()


@asynccontextmanager
async def _duties(
    settings: Settings,
    client: Client,
    pool: Database,
    connected: Mapping[str, GuardedGateway],
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    """What a worker does beside its task queues, for the length of the block."""
    reports = Reports(settings.redis_url)
    agreed, late = terms.of(settings), settings.usage_late
    every, kafka = timedelta(seconds=settings.sweep_seconds), settings.kafka
    until_cancelled = [
        _again_and_again(partial(sweep_for_ever, client, pool, agreed, every)),
        _again_and_again(partial(usage_partitions.make_for_ever, pool, late)),
        _again_and_again(partial(sealer.seal_for_ever, pool)),
        _again_and_again(
            partial(gateway_watch.report_for_ever, reports, client.identity, connected)
        ),
        *(
            _again_and_again(partial(gateway_watch.mend_for_ever, client, pool, gateway))
            for gateway in connected.values()
        ),
        _again_and_again(partial(schedules.ensure_sooner_or_later, client, agreed)),
        _again_and_again(partial(topics.make_sooner_or_later, settings)),
        _again_and_again(complaints.tell_for_ever),
    ]
    until_stopped = [
        _again_and_again(partial(dead_letter_consumer.consume_until, stop, pool, kafka)),
        _again_and_again(partial(ranking_consumer.consume_until, stop, pool, kafka)),
        _again_and_again(partial(usage_consumer.consume_until, stop, pool, kafka, late)),
    ]
    try:
        yield
    finally:
        stop.set()
        for duty in until_cancelled:
            duty.cancel()
        await asyncio.wait([*until_cancelled, *until_stopped])
        await reports.close()


def _again_and_again(duty: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Until it returns: one that fails ends neither its process nor its work for good."""

    async def run() -> None:
        while True:
            try:
                return await duty()
            except Exception as error:
                log.error("a duty of the worker failed and starts again", exc_info=error)
                await asyncio.sleep(AGAIN_SECONDS)

    return asyncio.create_task(run())


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """What `work` returns; None when told to stop before, as while Temporal cannot be reached."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()
