"""The outbox relay: reads, produces and marks. The one activity that does both SQL and Kafka."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from sqlalchemy import Row
from temporalio import activity

from activities.heartbeat import heartbeats
from store import outbox
from store.database import Database

SOURCE = "/durable-billing"
BATCH = 500
IDLE_SECONDS = 0.1
FLUSH_SECONDS = 0.5
"""Short, so that a cancelled relay (its worker stops) is gone soon."""

_log = logging.getLogger("librdkafka")
# It calls a setting that is needed here experimental, at the beginning of every turn.
_log.addFilter(lambda record: "CONFWARN" not in record.getMessage())


@dataclass(frozen=True)
class RelayTurn:
    """Publish this shard for this long, then hand back to the workflow."""

    shard: int
    duration: timedelta


class OutboxActivities:
    """At least once, in order per aggregate."""

    def __init__(self, database: Database, bootstrap_servers: str) -> None:
        self._database = database
        self._bootstrap_servers = bootstrap_servers

    @activity.defn(name="outbox.relay")
    async def relay(self, turn: RelayTurn) -> int:
        """Publish until the turn is over; returns how many events were published."""
        ends_at = time.monotonic() + turn.duration.total_seconds()
        producer = _producer(self._bootstrap_servers)
        published = 0
        try:
            async with heartbeats():
                while time.monotonic() < ends_at:
                    count = await self._publish_batch(producer, turn.shard)
                    published += count
                    if not count:
                        await asyncio.sleep(IDLE_SECONDS)
        finally:
            # What was not acknowledged stays unpublished in the table and is read again.
            producer.purge()
        return published

    async def _publish_batch(self, producer: Producer, shard: int) -> int:
        async with self._database.connect() as tx:
            rows = await outbox.unpublished(tx, shard, BATCH)
        if not rows:
            return 0
        await _deliver(producer, rows)
        async with self._database.begin() as tx:
            await outbox.mark_published(tx, [row.id for row in rows])
        return len(rows)


def _producer(bootstrap_servers: str) -> Producer:
    """Idempotent, so that a retry inside the client neither repeats nor reorders a message.

    A message never expires (`message.timeout.ms` 0), and one that the broker refuses stops the
    producer (`enable.gapless.guarantee`): otherwise the next of its key would overtake it. While
    Kafka is down the relay simply waits, and is back soon after it.
    """
    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "reconnect.backoff.max.ms": 1000,
            "linger.ms": 1,
            "compression.type": "zstd",
        },
        logger=_log,
    )


async def _deliver(producer: Producer, rows: Sequence[Row[Any]]) -> None:
    """Produce in order and wait until every message is acknowledged; raises on a refusal."""
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(error)

    try:
        for row in rows:
            producer.produce(
                row.topic,
                key=row.aggregate_id,
                value=orjson.dumps(row.data),
                headers=_headers(row),
                on_delivery=delivered,
            )
        pending = len(rows)
        while pending:
            pending = await asyncio.to_thread(producer.flush, FLUSH_SECONDS)
    except (KafkaException, SystemError) as error:
        # The producer has stopped; a SystemError is the same, met inside `delivered`.
        raise RuntimeError(f"Kafka refused an event: {refused[0] if refused else error}") from error
    if refused:
        raise RuntimeError(f"Kafka refused {len(refused)} events: {refused[0]}")


def _headers(row: Row[Any]) -> list[tuple[str, str | bytes | None]]:
    """CloudEvents 1.0, Kafka protocol binding in binary mode, and our own."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": row.event_id,
        "ce_type": row.topic,
        "ce_source": SOURCE,
        "ce_subject": row.aggregate_id,
        "ce_time": row.occurred_at.isoformat(),
        "content-type": "application/json",
        "aggregate-version": str(row.aggregate_version),
        "customer-id": row.customer_id,
        "Idempotency-Key": row.idempotency_key,
        "traceparent": row.traceparent,
    }
    return [(name, value) for name, value in headers.items() if value is not None]
