"""Follows `billing.order.completed` and keeps the ranking of SKUs.

At least once from Kafka, exactly once in effect: the event's id goes into the inbox in the
transaction that counts it, and the offset is committed after that.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from confluent_kafka import Message

from domain.event import Topic
from domain.ranking import sold
from runtime.consumer import follow_until
from store import inbox, outbox, ranking
from store.database import Database

CONSUMER = "ranking"
TOPIC = Topic.ORDER_COMPLETED


async def consume_until(stop: asyncio.Event, database: Database, bootstrap_servers: str) -> None:
    """Consume until told to stop."""
    await follow_until(stop, bootstrap_servers, CONSUMER, TOPIC.value, partial(take, database))


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


def _event_id(message: Message) -> str:
    headers: Any = message.headers() or []
    for name, value in headers:
        if name == "ce_id":
            return bytes(value).decode()
    raise ValueError(f"a message on {message.topic()} has no ce_id")
