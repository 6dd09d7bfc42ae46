"""A worker process serves what it was told to serve, and nothing else."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import uuid4

import httpx2
import pytest
from confluent_kafka import Producer
from sqlalchemy import func, select
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.enums.v1.workflow_pb2 import (
    PENDING_ACTIVITY_STATE_SCHEDULED,
    PENDING_ACTIVITY_STATE_STARTED,
)

from dev import process
from domain.access import SYSTEM
from domain.event import USAGE
from domain.status import Status, for_a_person
from domain.workflow_id import OUTBOX_WORKFLOW_ID
from runtime import temporal
from runtime.settings import Settings, WorkerQueue
from service.starts import start_relay
from service.status import look
from store import customer
from store.tables import usage_events
from tests.support.chart import values
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.databases import connected, does_somebody_wait, locked, somebody_waits
from tests.support.desks import desk
from tests.support.installations import installation, worker


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    async with installation(settings) as own:
        yield own


def serving(settings: Settings, *queues: WorkerQueue) -> Settings:
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
    batch = serving(alone, WorkerQueue.SETTLEMENT, WorkerQueue.VERIFICATION)

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
            await pods.enter_async_context(worker(serving(alone, *queues)))

        async def nothing_is_wrong() -> bool:
            return for_a_person(await status(alone)) == ()

        await eventually(nothing_is_wrong)


async def test_who_serves_payments_sees_to_it_that_a_relay_runs(alone: Settings) -> None:
    payments = serving(alone, WorkerQueue.PAYMENTS)

    async with worker(payments):

        async def runs() -> bool:
            return is_done(await status(alone), "relay")

        await eventually(runs)
        assert polled(await status(alone)) == {"payments"}


async def test_who_only_consumes_polls_no_task_queue_and_counts_usage(alone: Settings) -> None:
    consumers = serving(alone, WorkerQueue.CONSUMERS)
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


async def test_a_consumer_that_takes_long_to_end_keeps_nobody_at_work(alone: Settings) -> None:
    client = await temporal.connect_when_ready(alone)
    both = serving(alone, WorkerQueue.OUTBOX, WorkerQueue.CONSUMERS)
    await start_relay(client)
    relay = client.get_workflow_handle(OUTBOX_WORKFLOW_ID)

    async def is_published_by(state: "PendingActivityState.ValueType") -> bool:
        pending = (await relay.describe()).raw_description.pending_activities
        return [each.state for each in pending] == [state]

    async with locked(alone.database_owner_url, "usage_events") as tx, worker(both) as told:
        await eventually(lambda: is_published_by(PENDING_ACTIVITY_STATE_STARTED))
        await use(alone, f"c-{uuid4().hex}")
        await somebody_waits(tx, "usage_events")

        told.set()

        # Nobody does it any more, and it waits for another worker.
        await eventually(lambda: is_published_by(PENDING_ACTIVITY_STATE_SCHEDULED))
        assert await does_somebody_wait(tx, "usage_events")
