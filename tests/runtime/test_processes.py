"""A worker process serves what it was told to serve, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import uuid4

import httpx2
import pytest
from confluent_kafka import Producer
from sqlalchemy import func, select

from dev import process
from domain.access import SYSTEM
from domain.event import USAGE
from domain.status import Status
from runtime import temporal
from runtime.processes import Share, serving
from runtime.settings import Settings, WorkerQueue
from service.status import QUEUES, look
from store import customer
from store.tables import usage_events
from tests.support.chart import values
from tests.support.companions import Companion
from tests.support.conditions import PATIENCE_SECONDS, eventually, patience
from tests.support.databases import connected
from tests.support.desks import desk
from tests.support.installations import installation, worker


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    async with installation(settings) as own:
        yield own


def to_serve(settings: Settings, *queues: WorkerQueue) -> Settings:
    port = process.free_port()
    return settings.model_copy(update={"worker_queues": queues, "worker_port": port})


async def ready(settings: Settings) -> str:
    """What its probe says once it is ready."""

    async def said() -> str | None:
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as http:
            answer = await http.get(f"http://127.0.0.1:{settings.worker_port}/health/ready")
        return answer.text if answer.status_code == 200 else None

    text = await eventually(said)
    assert text is not None
    return text


async def status(settings: Settings) -> Status:
    client = await temporal.connect_when_ready(settings)
    async with connected(settings.database_url) as pool:
        return await look(desk(pool, client), "", {})


def polled(found: Status) -> set[str]:
    return {queue.name for queue in found.queues if queue.workers}


def is_done(found: Status, duty: str) -> bool:
    return all(part.wrong is None for part in found.parts if part.name == duty)


async def use(settings: Settings, name: str) -> None:
    """A new customer of this name, and a message of usage."""
    async with connected(settings.database_url) as pool, pool.begin(SYSTEM) as tx:
        await customer.put(tx, name)
    event = {
        "eventId": "e-1",
        "customerId": name,
        "resourceType": "API_CALL",
        "quantity": 1,
        "occurredAt": datetime.now(UTC).isoformat(),
    }
    producer = Producer(settings.kafka)
    producer.produce(USAGE, key=name, value=json.dumps(event))
    assert producer.flush(PATIENCE_SECONDS) == 0


async def test_it_polls_the_queues_that_it_was_given_and_no_others(alone: Settings) -> None:
    batch = to_serve(alone, WorkerQueue.SETTLEMENT, WorkerQueue.VERIFICATION)

    async with worker(batch):
        said = await ready(batch)
        found = await status(alone)

    assert said == "ready\nIt serves settlement, verification."
    assert polled(found) == {"settlement", "verification"}
    assert not is_done(found, "consumers")


async def test_the_deployments_of_the_chart_leave_nothing_undone(alone: Settings) -> None:
    async with AsyncExitStack() as pods:
        for deployment in values()["workers"].values():
            queues = [WorkerQueue(each) for each in deployment["queues"]]
            await pods.enter_async_context(worker(to_serve(alone, *queues)))

        # Not what waits: their consumers take the dead letters of other tests, too.
        async def is_everything_done() -> bool:
            found = await status(alone)
            return {*QUEUES} == polled(found) and not [part for part in found.parts if part.wrong]

        await eventually(is_everything_done)


async def test_who_serves_payments_sees_to_it_that_a_relay_runs(alone: Settings) -> None:
    payments = to_serve(alone, WorkerQueue.PAYMENTS)

    async with worker(payments):

        async def runs() -> bool:
            return is_done(await status(alone), "relay")

        await eventually(runs)
        assert polled(await status(alone)) == {"payments"}


async def test_who_only_consumes_polls_no_task_queue_and_counts_usage(alone: Settings) -> None:
    consumers = to_serve(alone, WorkerQueue.CONSUMERS)
    name = f"c-{uuid4().hex}"
    counted = select(func.count()).where(usage_events.c.customer_id == name)

    async with connected(alone.database_url) as pool, worker(consumers):
        said = await ready(consumers)
        await use(alone, name)

        async def is_counted() -> bool:
            async with pool.read(SYSTEM) as tx:
                return await tx.scalar(counted) == 1

        await eventually(is_counted)
        found = await status(alone)

    async def nobody_consumes() -> bool:
        return not is_done(await status(alone), "consumers")

    await eventually(nobody_consumes)
    assert said == "ready\nIt serves consumers."
    assert polled(found) == set()
    assert is_done(found, "consumers")


async def test_a_consumer_that_takes_long_to_end_keeps_nobody_at_work() -> None:
    worker, stop = Companion(), asyncio.Event()
    # Its batch is done only after the task queue has been told to stop, too.
    share = Share([worker], until_stopped=[worker.is_told])

    async with patience(), serving([share], stop):
        assert not worker.told.is_set()
        stop.set()

    assert worker.told.is_set()
