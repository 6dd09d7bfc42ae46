"""A worker process from start to stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker

from domain.terms import Terms
from gateway.guard import GuardedGateway
from gateway.reports import Reports
from runtime import (
    attendance,
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
from runtime.settings import Settings, WorkerQueue
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
"""Before a duty that failed."""

log = structlog.get_logger()

Result = TypeVar("Result")


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Serve the queues of the settings until told to stop: workflows and activities, the relay, the
    sweeper and consumers."""
    standing = Standing(stop)
    async with tracing.sending(settings, "billing-worker"), listening(settings, standing):
        client = await _unless_stopped(stop, temporal.connect_when_ready(settings))
        if client is not None:
            await _work(settings, client, stop, standing)


async def _work(
    settings: Settings, client: Client, stop: asyncio.Event, standing: Standing
) -> None:
    async with _means(settings, client, stop) as means:
        shares = [_SHARES[queue](means) for queue in settings.worker_queues]
        async with serving(shares, stop):
            memory.freeze()
            standing.works(client, means.pool, settings.worker_queues)
            log.info(
                "the worker is ready",
                temporal=settings.temporal_address,
                queues=settings.worker_queues,
            )
            await stop.wait()


@dataclass(frozen=True)
class _Means:
    """What queues are served with. Nothing of it is connected before it is used, so that a process
    has only what its own queues need."""

    settings: Settings
    client: Client
    pool: Database
    batch_pool: Database
    gateways: Mapping[str, GuardedGateway]
    reports: Reports
    terms: Terms
    version: WorkerDeploymentVersion | None
    stop: asyncio.Event


@asynccontextmanager
async def _means(settings: Settings, client: Client, stop: asyncio.Event) -> AsyncIterator[_Means]:
    means = _Means(
        settings,
        client,
        pool=database.connect(settings.database_url, settings.database_pool_size),
        batch_pool=database.connect(
            settings.database_url, settings.database_pool_size, database.BATCH_SECONDS
        ),
        gateways=gateways.connect(settings),
        reports=Reports(settings.redis_url),
        terms=terms.of(settings),
        version=version_of(settings),
        stop=stop,
    )
    try:
        yield means
    finally:
        await means.reports.close()
        for gateway in means.gateways.values():
            await gateway.close()
        await means.pool.dispose()
        await means.batch_pool.dispose()


Duty = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Share:
    """What a worker does for one queue: whoever polls it, and duties beside that. Those that end by
    themselves when the process is told to stop are `until_stopped`: they end what is in hand."""

    workers: Sequence[Worker] = ()
    until_cancelled: Sequence[Duty] = ()
    until_stopped: Sequence[Duty] = ()


def _payments(means: _Means) -> Share:
    """Real time; whoever lost its owner is found here, and a gateway that is down is looked after
    by those who call it."""
    settings, client, pool = means.settings, means.client, means.pool
    worker = payments_worker(
        client,
        pool,
        means.gateways,
        keys=keys.ring(settings),
        version=means.version,
        grace=gateways.longest_call(settings),
    )
    every = timedelta(seconds=settings.sweep_seconds)
    mends = [
        partial(gateway_watch.mend_for_ever, client, pool, gateway)
        for gateway in means.gateways.values()
    ]
    reports = partial(gateway_watch.report_for_ever, means.reports, client.identity, means.gateways)
    sweeps = partial(sweep_for_ever, client, pool, means.terms, every)
    return Share([worker], [sweeps, reports, *mends])


def _settlement(means: _Means) -> Share:
    """Batch, with the Schedules that begin it, and partitions for the usage that it bills."""
    return Share(
        [settlement_worker(means.client, means.batch_pool, version=means.version)],
        [
            partial(schedules.ensure_sooner_or_later, means.client, means.terms),
            partial(usage_partitions.make_for_ever, means.pool, means.settings.usage_late),
        ],
    )


def _outbox(means: _Means) -> Share:
    """The relay, and the topics that it publishes to."""
    return Share(
        [outbox_worker(means.client, means.pool, means.settings.kafka, means.version)],
        [partial(topics.make_sooner_or_later, means.settings)],
    )


def _verification(means: _Means) -> Share:
    """What proves: the hourly look at everything, and the seals of the audit trail."""
    settings = means.settings
    sources = verification.Sources(
        means.batch_pool,
        means.client,
        gateways.books(settings),
        verification.patience(timedelta(seconds=settings.sweep_seconds)),
    )
    looks = partial(verification.verify, sources)
    return Share(
        [verification_worker(means.client, looks, means.version)],
        [partial(sealer.seal_for_ever, means.pool)],
    )


def _consumers(means: _Means) -> Share:
    stop, pool, kafka = means.stop, means.pool, means.settings.kafka
    return Share(
        until_cancelled=[partial(attendance.attend_for_ever, pool)],
        until_stopped=[
            partial(dead_letter_consumer.consume_until, stop, pool, kafka),
            partial(ranking_consumer.consume_until, stop, pool, kafka),
            partial(usage_consumer.consume_until, stop, pool, kafka, means.settings.usage_late),
        ],
    )


_SHARES: Mapping[WorkerQueue, Callable[[_Means], Share]] = {
    WorkerQueue.PAYMENTS: _payments,
    WorkerQueue.SETTLEMENT: _settlement,
    WorkerQueue.OUTBOX: _outbox,
    WorkerQueue.VERIFICATION: _verification,
    WorkerQueue.CONSUMERS: _consumers,
}


@asynccontextmanager
async def serving(shares: Sequence[Share], stop: asyncio.Event) -> AsyncIterator[None]:
    """Do all of it for the length of the block, which ends when `stop` is set.

    Consumers see that by themselves: they end what is in hand while the workers end theirs.
    """
    workers = [worker for share in shares for worker in share.workers]
    async with _on_duty(shares, stop), running(*workers):
        yield


@asynccontextmanager
async def _on_duty(shares: Sequence[Share], stop: asyncio.Event) -> AsyncIterator[None]:
    """What a worker does beside its task queues, for the length of the block."""
    until_cancelled = [
        _again_and_again(complaints.tell_for_ever),
        *(_again_and_again(duty) for share in shares for duty in share.until_cancelled),
    ]
    until_stopped = [_again_and_again(duty) for share in shares for duty in share.until_stopped]
    try:
        yield
    finally:
        stop.set()
        for duty in until_cancelled:
            duty.cancel()
        await asyncio.gather(*until_cancelled, *until_stopped, return_exceptions=True)


def _again_and_again(duty: Duty) -> asyncio.Task[None]:
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
