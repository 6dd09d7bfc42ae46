"""Following a Kafka topic: at least once, each batch committed after its effect is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaException, Message
from sqlalchemy.exc import SQLAlchemyError

BATCH = 500
WAIT_SECONDS = 0.5

Take = Callable[[Sequence[Message]], Awaitable[None]]

log = structlog.get_logger()


async def follow_until(
    stop: asyncio.Event, bootstrap_servers: str, name: str, topic: str, take: Take
) -> None:
    """Hand messages to `take` until told to stop; after a fault begin again at the last offset that
    was committed."""
    while not stop.is_set():
        consumer = _consumer(bootstrap_servers, name)
        try:
            await _follow(stop, consumer, topic, take)
        except (KafkaException, SQLAlchemyError, OSError) as error:
            log.warning("a consumer starts again", consumer=name, error=str(error))
            await asyncio.sleep(1)
        finally:
            await asyncio.to_thread(consumer.close)


def group_id(name: str) -> str:
    """The consumer group of a consumer."""
    return f"billing-{name}"


async def _follow(stop: asyncio.Event, consumer: Consumer, topic: str, take: Take) -> None:
    consumer.subscribe([topic])
    while not stop.is_set():
        messages = await asyncio.to_thread(consumer.consume, BATCH, WAIT_SECONDS)
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
        if messages:
            await take(messages)
            await asyncio.to_thread(consumer.commit, asynchronous=False)


def _consumer(bootstrap_servers: str, name: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group_id(name),
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
