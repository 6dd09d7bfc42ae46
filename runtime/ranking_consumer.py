"""Follows `billing.order.completed` and keeps the ranking of SKUs.

At least once from Kafka, exactly once in effect: the event's id goes into the inbox in the
transaction that counts it, and the offset is committed after that.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from confluent_kafka import Consumer, KafkaException, Message
from sqlalchemy.exc import SQLAlchemyError

from domain.event import Topic
from domain.ranking import sold
from store import inbox, outbox, ranking
from store.database import Database

CONSUMER = "ranking"
TOPIC = Topic.ORDER_COMPLETED
BATCH = 500
WAIT_SECONDS = 0.5

log = structlog.get_logger()


async def consume_until(stop: asyncio.Event, database: Database, bootstrap_servers: str) -> None:
    """Consume until told to stop; after a fault begin again at the last committed offset."""
    while not stop.is_set():
        consumer = _consumer(bootstrap_servers)
        try:
            await _consume(stop, consumer, database)
        except (KafkaException, SQLAlchemyError, OSError) as error:
            log.warning("the ranking consumer starts again", error=str(error))
            await asyncio.sleep(1)
        finally:
            await asyncio.to_thread(consumer.close)


async def rebuild(database: Database) -> int:
    """Forget the ranking and have every completed order published again; returns how many."""
    async with database.begin() as tx:
        await inbox.forget(tx, CONSUMER)
        await ranking.forget(tx)
        return await outbox.republish(tx, TOPIC.value)


async def take(database: Database, messages: Sequence[Message]) -> None:
    """Count those events that were not counted before, in one transaction."""
    async with database.begin() as tx:
        new = [
            message for message in messages if await inbox.take(tx, CONSUMER, _event_id(message))
        ]
        orders = [orjson.loads(message.value() or b"")["items"] for message in new]
        await ranking.count(tx, sold(orders))


async def _consume(stop: asyncio.Event, consumer: Consumer, database: Database) -> None:
    consumer.subscribe([TOPIC.value])
    while not stop.is_set():
        messages = await asyncio.to_thread(consumer.consume, BATCH, WAIT_SECONDS)
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
        if messages:
            await take(database, messages)
            await asyncio.to_thread(consumer.commit, asynchronous=False)


def _consumer(bootstrap_servers: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"billing-{CONSUMER}",
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )


def _event_id(message: Message) -> str:
    headers: Any = message.headers() or []
    for name, value in headers:
        if name == "ce_id":
            return bytes(value).decode()
    raise ValueError(f"a message on {message.topic()} has no ce_id")
