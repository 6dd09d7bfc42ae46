"""Follows `billing.usage` and counts its events, with the semantics of the HTTP call.

A message's value is an event in one of the forms that HTTP takes. What cannot be counted goes to
`billing.usage.DLT` with the reason, before the offset is committed: after a crash in between it
goes there again, under the same `dlt-id`.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from domain.errors import InvalidRequest, Rejected
from domain.event import USAGE, USAGE_DEAD_LETTERS
from domain.usage_document import decode
from runtime.consumer import follow_until, group_id
from runtime.usage import take
from store.database import Database

CONSUMER = "usage"
DELIVERY_MILLISECONDS = 10_000

log = structlog.get_logger()

Headers = list[tuple[str, str | bytes | None]]


async def consume_until(
    stop: asyncio.Event, database: Database, bootstrap_servers: str, late: timedelta
) -> None:
    """Consume until told to stop."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": DELIVERY_MILLISECONDS,
        }
    )
    taking = partial(count, database, producer, late)
    await follow_until(stop, bootstrap_servers, CONSUMER, USAGE, taking)


async def count(
    database: Database, producer: Producer, late: timedelta, messages: Sequence[Message]
) -> None:
    """Count what can be counted in one transaction, and set the rest aside; raises
    `KafkaException` when that cannot be done."""
    receipts = await take(database, [_document(message) for message in messages], late)
    refused = [
        (message, receipt.refusal)
        for message, receipt in zip(messages, receipts, strict=True)
        if receipt.refusal is not None
    ]
    if refused:
        await _set_aside(producer, refused)
        log.warning("usage was refused", events=len(refused), first=str(refused[0][1]))


def _document(message: Message) -> object:
    try:
        return decode(message.value() or b"")
    except InvalidRequest as refusal:
        return refusal


async def _set_aside(producer: Producer, refused: Sequence[tuple[Message, Rejected]]) -> None:
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    for message, refusal in refused:
        producer.produce(
            USAGE_DEAD_LETTERS,
            key=message.key(),
            value=message.value(),
            partition=_place(message)[0],
            headers=_headers(message, refusal),
            on_delivery=delivered,
        )
    # Each message is delivered or given up within DELIVERY_MILLISECONDS, so this ends.
    while await asyncio.to_thread(producer.flush, 1):
        pass
    if failed:
        raise KafkaException(failed[0])


def _headers(message: Message, refusal: Rejected) -> Headers:
    """The message's own headers, and where it comes from and why it is here, under the names of
    spring-kafka (numbers big-endian); `dlt-id` is the same however often it is set aside."""
    partition, offset = _place(message)
    _, timestamp = message.timestamp()
    own: Headers = [*(message.headers() or [])]
    return [
        *own,
        ("dlt-id", f"{USAGE_DEAD_LETTERS}:{partition}:{offset}"),
        ("kafka_dlt-original-topic", USAGE),
        ("kafka_dlt-original-partition", partition.to_bytes(4, "big")),
        ("kafka_dlt-original-offset", offset.to_bytes(8, "big")),
        ("kafka_dlt-original-timestamp", timestamp.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-consumer-group", group_id(CONSUMER)),
        ("kafka_dlt-exception-fqcn", refusal.slug),
        ("kafka_dlt-exception-message", str(refusal)),
    ]


def _place(message: Message) -> tuple[int, int]:
    """(partition, offset): a message that was received has both."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise ValueError("a message that was not received")
    return partition, offset
