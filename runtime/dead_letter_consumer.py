"""Follows every topic of dead letters, and keeps what stands there as rows.

What a consumer of ours gives up itself is a row already, and the same one: a letter is known by
where its message was given up. What we have told ourselves of an invoice that nobody pays only says
where its letter lies.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from confluent_kafka import Consumer

from domain.access import SYSTEM
from domain.dead_letter import from_topic
from domain.event import DLT_SUFFIX, Topic
from domain.message import Message, Refused
from runtime.consumer import follow_until
from store import dead_letter
from store.database import Database, Transaction

CONSUMER = "dead-letters"
OURS = "billing."
METADATA_SECONDS = 10


async def consume_until(stop: asyncio.Event, database: Database, kafka: Mapping[str, str]) -> None:
    """Consume until told to stop."""
    await follow_until(stop, database, kafka, CONSUMER, topics, partial(take, database))


def topics(consumer: Consumer) -> list[str]:
    """All topics of dead letters there are, also those of others who read ours."""
    there = consumer.list_topics(timeout=METADATA_SECONDS).topics
    return sorted(name for name in there if name.startswith(OURS) and name.endswith(DLT_SUFFIX))


async def take(database: Database, messages: Sequence[Message]) -> list[Refused]:
    """Keep each once. No message is refused: whatever it is, it is a dead letter."""
    async with database.begin(SYSTEM) as tx:
        for message in messages:
            await _keep(tx, message)
    return []


async def _keep(tx: Transaction, message: Message) -> None:
    letter = from_topic(message)
    if message.topic == Topic.OVERDUE_NOTICE_DLT:
        # The event bears the id of its letter; before there was one, the letter that of its key.
        ids = [value for name, value in message.headers if name == "ce_id"]
        named = [(each or b"").decode("ascii", "replace") for each in (*ids, message.key)]
        if await dead_letter.adopt(tx, letter, named):
            return
    await dead_letter.put(tx, letter)
