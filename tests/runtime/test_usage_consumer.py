"""Usage over Kafka: the same semantics as over HTTP, and dead letters that say why."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
from confluent_kafka import Consumer, Message, Producer
from sqlalchemy import func, select

from domain.event import USAGE, USAGE_DEAD_LETTERS
from domain.usage import LATE
from runtime.settings import Settings
from runtime.usage_consumer import consume_until
from store.database import Database
from store.tables import usage_events
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.usage import document, new_customer


@asynccontextmanager
async def consuming(
    database: Database, settings: Settings, late: timedelta = LATE
) -> AsyncIterator[None]:
    """A consumer for the length of the block."""
    stop = asyncio.Event()
    consumer = asyncio.create_task(consume_until(stop, database, settings.kafka, late))
    try:
        yield
    finally:
        stop.set()
        await consumer


async def produce(settings: Settings, values: Sequence[bytes | None], **more: Any) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "acks": "all"})
    for value in values:
        producer.produce(USAGE, value=value, **more)
    assert await asyncio.to_thread(producer.flush, PATIENCE_SECONDS) == 0


def as_dictionary(message: Message) -> dict[str, bytes]:
    headers: Any = message.headers()
    return dict(headers)


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


async def count(database: Database, customer_id: str) -> int:
    query = select(func.count()).where(usage_events.c.customer_id == customer_id)
    async with database.engine.connect() as tx:
        return int((await tx.execute(query)).scalar_one())


async def dead_letters(settings: Settings, key: str, wanted: int) -> list[Message]:
    """The dead letters with this key, at least as many as wanted."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": f"test-{uuid4()}",
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([USAGE_DEAD_LETTERS])
    found: list[Message] = []

    async def enough() -> bool:
        messages = await asyncio.to_thread(consumer.consume, 500, 0.1)
        found.extend(message for message in messages if message.key() == key.encode())
        return len(found) >= wanted

    try:
        await eventually(enough)
    finally:
        await asyncio.to_thread(consumer.close)
    return found


async def test_an_event_counts_once_over_http_batch_and_kafka(
    api: httpx2.AsyncClient, database: Database, settings: Settings
) -> None:
    customer_id = await new_customer(database)
    events = [document(customer_id, f"e-{number}", quantity=number) for number in range(60)]
    cloud_events = [{"specversion": "1.0", "data": event} for event in events]

    async def over_http(event: dict[str, Any]) -> str:
        return str((await api.post("/api/v1/usage", json=event)).json()["status"])

    async def in_a_batch() -> list[str]:
        answer = await api.post("/api/v1/usage/batch", json={"events": events})
        return [each["status"] for each in answer.json()["outcomes"]]

    async with consuming(database, settings):
        await produce(settings, [encoded(event) for event in events])
        await produce(settings, [encoded(event) for event in cloud_events])
        single, batched = await asyncio.gather(
            asyncio.gather(*(over_http(event) for event in events)), in_a_batch()
        )
        last = document(customer_id, "last")
        await produce(settings, [encoded(last)] * 3)
        await eventually(lambda: _counted(database, customer_id, 61))

    assert {*single, *batched} <= {"ACCEPTED", "DUPLICATE"}
    assert await count(database, customer_id) == 61
    assert {await over_http(event) for event in [*events, last]} == {"DUPLICATE"}


async def _counted(database: Database, customer_id: str, events: int) -> bool:
    return await count(database, customer_id) == events


async def test_what_cannot_be_taken_is_set_aside_with_the_reason(
    database: Database, settings: Settings
) -> None:
    customer_id = await new_customer(database)
    good = document(customer_id, "good")
    bad = {
        "usage-conflict": encoded({**good, "quantity": 2}),
        "not-found": encoded(document(f"c-{uuid4().hex}")),
        "usage-too-old": encoded(document(customer_id, occurredAt="2020-01-01T00:00:00Z")),
        "usage-in-future": encoded(document(customer_id, occurredAt="2099-01-01T00:00:00Z")),
        "invalid-request": b"\xff",
    }
    async with consuming(database, settings):
        await produce(settings, [encoded(good), *bad.values(), None], key=customer_id, partition=5)
        found = await dead_letters(settings, customer_id, 6)

    headers = [as_dictionary(message) for message in found]
    reasons = [header["kafka_dlt-exception-fqcn"].decode() for header in headers]
    assert reasons == [*bad, "invalid-request"]
    assert [message.value() for message in found] == [*bad.values(), None]
    assert {message.partition() for message in found} == {5}
    for header in headers:
        offset = int.from_bytes(header["kafka_dlt-original-offset"], "big")
        assert header["dlt-id"].decode() == f"{USAGE_DEAD_LETTERS}:5:{offset}"
        assert header["kafka_dlt-original-topic"].decode() == USAGE
        assert header["kafka_dlt-exception-message"].decode().endswith(".")
    assert await count(database, customer_id) == 1


async def test_a_dead_letter_keeps_its_headers(database: Database, settings: Settings) -> None:
    key = f"k-{uuid4().hex}"
    headers = [("traceparent", b"00-1"), ("empty", b"")]
    async with consuming(database, settings):
        await produce(settings, [b"{}"], key=key, headers=headers)
        [message] = await dead_letters(settings, key, 1)

    assert as_dictionary(message).items() >= dict(headers).items()


async def test_a_consumer_goes_on_where_the_last_one_committed(
    database: Database, settings: Settings
) -> None:
    customer_id = await new_customer(database)
    for round_ in range(3):
        values = [encoded(document(customer_id)) for _ in range(20)]
        await produce(settings, values)
        expected = 20 * (round_ + 1)
        async with consuming(database, settings):
            await eventually(partial(_counted, database, customer_id, expected))


async def test_two_consumers_share_the_work(database: Database, settings: Settings) -> None:
    customer_id = await new_customer(database)
    async with consuming(database, settings), consuming(database, settings):
        for partition in range(12):
            values = [encoded(document(customer_id)) for _ in range(10)]
            await produce(settings, values, partition=partition)
        await eventually(lambda: _counted(database, customer_id, 120))
