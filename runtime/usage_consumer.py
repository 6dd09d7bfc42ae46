"""Follows `billing.usage` and counts its events, with the semantics of the HTTP call.

A message's value is an event in one of the forms that HTTP takes. What cannot be counted goes to
`billing.usage.DLT` with the reason, before the offset is committed: after a crash in between it
goes there again, under the same `dlt-id`. What that topic cannot hold is set aside like what any
consumer cannot take.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Sent

from domain.errors import InvalidRequest
from domain.event import USAGE, USAGE_DEAD_LETTERS
from domain.message import Message, Refused, refused
from domain.usage_document import decode
from runtime.consumer import follow_until, group_id, only
from service.usage import take
from store.database import Database

CONSUMER = "usage"
DELIVERY_MILLISECONDS = 10_000

log = structlog.get_logger()


async def consume_until(
    stop: asyncio.Event, database: Database, kafka: Mapping[str, str], late: timedelta
) -> None:
    """Consume until told to stop."""
    # Not idempotent: that producer may stop for good, and whoever reads knows a letter by its id.
    producer = Producer(
        {
            **kafka,
            "acks": "all",
            "message.timeout.ms": DELIVERY_MILLISECONDS,
            # That a topic is not there is known sooner, and then at once.
            "topic.metadata.propagation.max.ms": DELIVERY_MILLISECONDS // 2,
        }
    )
    counting = partial(count, database, producer, late)
    await follow_until(stop, database, kafka, CONSUMER, only(USAGE), counting)


async def count(
    database: Database, producer: Producer, late: timedelta, messages: Sequence[Message]
) -> list[Refused]:
    """Count what can be counted in one transaction, and send the rest to the topic of dead letters;
    returns what that topic did not take."""
    receipts = await take(database, [_document(message) for message in messages], late)
    uncounted = [
        refused(message, receipt.refusal)
        for message, receipt in zip(messages, receipts, strict=True)
        if receipt.refusal is not None
    ]
    if uncounted:
        log.warning("usage was refused", events=len(uncounted))
    return await _send_away(producer, uncounted)


def _document(message: Message) -> object:
    try:
        return decode(message.value or b"")
    except InvalidRequest as refusal:
        return refusal


async def _send_away(producer: Producer, letters: Sequence[Refused]) -> list[Refused]:
    """Returns those that were not acknowledged, whatever the reason: too large with the headers, no
    such topic or partition, no right, or nobody who answers in time."""
    left = dict(enumerate(letters))

    def delivered(number: int, error: KafkaError | None, _: Sent) -> None:
        if error is None:
            del left[number]

    for number, letter in enumerate(letters):
        try:
            producer.produce(
                USAGE_DEAD_LETTERS,
                key=letter.message.key,
                value=letter.message.value,
                partition=letter.message.partition,
                headers=_headers(letter),
                on_delivery=partial(delivered, number),
            )
        except (KafkaException, BufferError) as error:
            log.warning("a dead letter cannot be sent", error=error)
    # Each message is delivered or given up within DELIVERY_MILLISECONDS, so this ends.
    while await asyncio.to_thread(producer.flush, 1):
        pass
    return list(left.values())


def _headers(letter: Refused) -> list[tuple[str, str | bytes | None]]:
    """The message's own headers, and where it comes from and why it is here, under the names of
    spring-kafka (numbers big-endian); `dlt-id` is the same however often it is set aside."""
    message = letter.message
    return [
        *message.headers,
        ("dlt-id", f"{USAGE_DEAD_LETTERS}:{message.partition}:{message.offset}"),
        ("kafka_dlt-original-topic", message.topic),
        ("kafka_dlt-original-partition", message.partition.to_bytes(4, "big")),
        ("kafka_dlt-original-offset", message.offset.to_bytes(8, "big")),
        ("kafka_dlt-original-timestamp", message.timestamp.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-consumer-group", group_id(CONSUMER)),
        ("kafka_dlt-exception-fqcn", letter.error),
        ("kafka_dlt-exception-message", letter.reason),
    ]
