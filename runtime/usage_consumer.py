"""Follows `billing.usage` and counts its events, with the semantics of the HTTP call.

A message's value is an event in one of the forms that HTTP takes. What cannot be counted goes to
`billing.usage.DLT` with the reason, before the offset is committed: after a crash in between it
goes there again, under the same `dlt-id`. What that topic cannot hold is set aside like what any
consumer cannot take.
"""

import asyncio
import logging
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
from runtime import complaints
from runtime.consumer import follow_until, group_id, only
from service.usage import take
from store.database import Database

CONSUMER = "usage"
DELIVERY_MILLISECONDS = 10_000

_client_log = logging.getLogger(complaints.NAME)
log = structlog.get_logger()


async def consume_until(
    stop: asyncio.Event, database: Database, kafka: Mapping[str, str], late: timedelta
) -> None:
    """Consume until told to stop."""
    await follow_until(
        stop, database, kafka, CONSUMER, only(USAGE), partial(count, database, kafka, late)
    )


async def count(
    database: Database, kafka: Mapping[str, str], late: timedelta, messages: Sequence[Message]
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
        return await _send_away(_producer(kafka), uncounted)
    return []


def _document(message: Message) -> object:
    try:
        return decode(message.value or b"")
    except InvalidRequest as refusal:
        return refusal


def _producer(kafka: Mapping[str, str]) -> Producer:
    """For one batch: while it has nothing to send nobody would hear what it says.

    Not idempotent: that one may stop for good, and whoever reads knows a letter by its id.
    """
    waits = {"acks": "all", "message.timeout.ms": DELIVERY_MILLISECONDS}
    return Producer({**kafka, **waits}, logger=_client_log)


async def _send_away(producer: Producer, letters: Sequence[Refused]) -> list[Refused]:
    """Returns those that were not acknowledged, whatever the reason: too large with the headers, no
    such topic, no right, or nobody who answers in time.

    Each goes to the partition of its number, as others expect; where there are fewer, to another.
    """
    partitions = await asyncio.to_thread(_partitions, producer)
    if not partitions:
        return [*letters]
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
                partition=letter.message.partition % partitions,
                headers=_headers(letter),
                on_delivery=partial(delivered, number),
            )
        except (KafkaException, BufferError) as error:
            log.warning("a dead letter cannot be sent", error=error)
    # Each message is delivered or given up within DELIVERY_MILLISECONDS, so this ends.
    while await asyncio.to_thread(producer.flush, 1):
        pass
    return list(left.values())


def _partitions(producer: Producer) -> int:
    """Of the topic of dead letters; 0 where it is not there, or nobody says so."""
    try:
        found = producer.list_topics(USAGE_DEAD_LETTERS, timeout=DELIVERY_MILLISECONDS / 1000)
    except KafkaException as error:
        log.warning("a dead letter cannot be sent", error=error)
        return 0
    return len(found.topics[USAGE_DEAD_LETTERS].partitions)


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
