"""Dead letters on real parts: brokers and a database of their own, the consumer of dead letters,
the relay, the worker that does what jobs are for, and the API."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx2
from confluent_kafka import Producer
from sqlalchemy import func, select
from temporalio.client import Client
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from api.app import create_app
from domain.access import SYSTEM
from domain.dead_letter import NewLetter, from_topic
from domain.event import TOPICS, Topic
from domain.message import Headers, Message
from runtime import dead_letter_consumer, temporal
from runtime.consumer import received as as_received
from runtime.settings import Settings
from runtime.workers import outbox_worker, running, settlement_worker
from service.starts import start_relay
from store import dead_letter
from store.database import Database
from store.tables import dead_letters, outbox
from tests.conftest import served
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.relays import RelayBed, received

DLQ = "/api/v1/admin/dlq"
CAPTURED = "billing.payment.captured"
"""A topic of others, as the source documents name it."""
WITH_DEAD_LETTERS = (
    *TOPICS,
    CAPTURED,
    *(
        f"{topic}.DLT"
        for topic in (
            CAPTURED,
            Topic.ORDER_CREATED,
            Topic.PAYMENT_COMPLETED,
            Topic.PAYMENT_FAILED,
            Topic.REFUND_COMPLETED,
        )
    ),
)
PAYMENT_DLT = "billing.payment.completed.DLT"


@dataclass(frozen=True)
class Letters:
    """An installation with everything that has to do with dead letters."""

    bed: RelayBed
    client: Client
    api: httpx2.AsyncClient

    @property
    def database(self) -> Database:
        return self.bed.database

    @property
    def settings(self) -> Settings:
        return self.bed.settings

    async def send(
        self,
        topic: str,
        value: bytes | None = b"{}",
        headers: Headers = (),
        key: bytes | None = b"key",
        partition: int = 0,
    ) -> str:
        """Put it on a topic of dead letters and wait for the row; returns its message id."""
        [message_id] = await self.send_all(topic, [value], headers, key, partition)
        return message_id

    async def send_all(
        self,
        topic: str,
        values: Iterable[bytes | None],
        headers: Headers = (),
        key: bytes | None = b"key",
        partition: int = 0,
    ) -> list[str]:
        """The same with many, one behind the other."""
        offsets = [
            await asyncio.to_thread(produced, self.settings, topic, value, headers, key, partition)
            for value in values
        ]
        ids = [f"{topic}:{partition}:{offset}" for offset in offsets]

        async def kept() -> bool:
            return await self.state(ids[-1]) is not None

        await eventually(kept)
        return ids

    async def state(self, called: str) -> str | None:
        async with self.database.read(SYSTEM) as tx:
            letter = await dead_letter.find(tx, called)
        return None if letter is None else letter.state

    async def becomes(self, called: str, state: str) -> None:
        async def stands() -> bool:
            return await self.state(called) == state

        await eventually(stands)

    async def get(self, path: str = "", **query: str | int) -> dict[str, Any]:
        answer = await self.api.get(f"{DLQ}{path}", params=query)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        return await self.api.post(f"{DLQ}{path}", json=body)

    async def started(self, operation: str, **filters: Any) -> str:
        """The id of a job for these letters."""
        answer = await self.post(f"/bulk-{operation}", {**filters, "confirm": True})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["jobId"])

    async def ended(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job, once it stands so."""

        async def stands() -> dict[str, Any] | None:
            job = await self.get(f"/bulk-jobs/{job_id}")
            return job if job["state"] in states else None

        found = await eventually(stands)
        assert found is not None
        return found

    async def messages(self, topic: str) -> list[Message]:
        """Everything on a topic."""
        found = await asyncio.to_thread(received, self.settings, [topic])
        return [as_received(each) for each in found]

    async def sent_for(self, ids: Sequence[str]) -> dict[str, int]:
        """How often each letter was put into the outbox."""
        query = select(outbox.c.aggregate_id, func.count()).where(outbox.c.aggregate_id.in_(ids))
        async with self.database.read(SYSTEM) as tx:
            rows = await tx.execute(query.group_by(outbox.c.aggregate_id))
            return {row[0]: row[1] for row in rows}


def produced(
    settings: Settings,
    topic: str,
    value: bytes | None,
    headers: Headers,
    key: bytes | None,
    partition: int,
) -> int:
    """Its offset."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "acks": "all"})
    offsets: list[int] = []
    producer.produce(
        topic,
        value=value,
        key=key,
        headers=list(headers),
        partition=partition,
        on_delivery=lambda error, message: offsets.append(message.offset() or 0),
    )
    assert producer.flush(PATIENCE_SECONDS) == 0
    return offsets[0]


async def many(database: Database, number: int, topic: str = PAYMENT_DLT, **more: Any) -> list[str]:
    """So many letters as the consumer would have made them, of one customer of their own or of
    whoever `customer_id` names; returns their ids, in order."""
    partition = int(uuid4().int % 2**30)
    ids: list[str] = []
    async with database.begin(SYSTEM) as tx:
        for offset in range(number):
            message = Message(topic, partition, offset, 1_780_000_000_000, b"k", (), b"{}")
            letter: NewLetter = replace(from_topic(message), **more)
            id_ = await dead_letter.put(tx, letter)
            assert id_ is not None
            ids.append(id_)
    return ids


async def count_open(database: Database, customer_id: str) -> int:
    query = select(func.count()).where(
        dead_letters.c.customer_id == customer_id, dead_letters.c.state == "OPEN"
    )
    async with database.read(SYSTEM) as tx:
        return int(await tx.scalar(query) or 0)


@asynccontextmanager
async def letters_on(bed: RelayBed) -> AsyncIterator[Letters]:
    """Everything at work, for the length of the block."""
    async with idle_letters_on(bed) as idle:
        client, stop = idle.client, asyncio.Event()
        workers = (
            settlement_worker(client, bed.database, SandboxedWorkflowRunner()),
            outbox_worker(client, bed.database, bed.settings.kafka),
        )
        following = asyncio.create_task(
            dead_letter_consumer.consume_until(stop, bed.database, bed.settings.kafka)
        )
        try:
            async with running(*workers):
                await start_relay(client)
                yield idle
        finally:
            stop.set()
            await following


@asynccontextmanager
async def idle_letters_on(bed: RelayBed) -> AsyncIterator[Letters]:
    """Only the API: no worker, no relay and no consumer."""
    bed.settings = bed.settings.model_copy(update={"dead_letters_per_second": 1_000})
    client = await temporal.connect_when_ready(bed.settings)
    async with served(create_app(bed.settings)) as http:
        yield Letters(bed, client, http)
