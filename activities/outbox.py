"""The outbox relay: reads, produces and marks. The one activity that does both SQL and Kafka."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from temporalio import activity

from activities.heartbeat import heartbeats
from domain.access import SYSTEM
from domain.event import OutboxEvent, RawMessage, UnpublishedEvent
from domain.message import Headers
from store import dead_letter, outbox
from store.database import Database, Transaction

SOURCE = "/durable-billing"
BATCH = 500
BUSY_SECONDS, IDLE_SECONDS = 0.04, 0.1
"""Between two looks at the table: the first after one that found something."""
FLUSH_SECONDS = 0.5
"""Short, so that a cancelled relay (its worker stops) is gone soon."""
TRIED_AGAIN = 20
"""How many refused events are tried at a time."""
BEHIND = "Waits for an earlier event of its aggregate."

_log = logging.getLogger("librdkafka")
# It calls a setting that is needed here experimental, at the beginning of every turn.
_log.addFilter(lambda record: "CONFWARN" not in record.getMessage())


@dataclass(frozen=True)
class RelayTurn:
    """Publish for this long, then hand back to the workflow."""

    duration: timedelta
    try_again_after: timedelta = timedelta(minutes=5)
    """How often some of what was refused is tried again, and first of all."""


class OutboxActivities:
    """At least once, in order per topic and aggregate."""

    def __init__(self, database: Database, kafka: Mapping[str, str]) -> None:
        self._database = database
        self._kafka = kafka

    @activity.defn(name="outbox.relay")
    async def relay(self, turn: RelayTurn) -> int:
        """Publish until the turn is over; returns how many events were published."""
        tries_at = time.monotonic()
        ends_at = tries_at + turn.duration.total_seconds()
        publisher = Publisher(self._kafka)
        published = 0
        try:
            # One connection for all looks: it costs more to get one than to look.
            async with heartbeats(), self._database.statements(SYSTEM) as reading:
                while (now := time.monotonic()) < ends_at:
                    if now >= tries_at:
                        await outbox.try_again(reading, TRIED_AGAIN)
                        tries_at = now + turn.try_again_after.total_seconds()
                    waiting = await outbox.unpublished(reading, BATCH)
                    published += await self._publish(publisher, waiting)
                    if len(waiting) < BATCH:
                        await asyncio.sleep(BUSY_SECONDS if waiting else IDLE_SECONDS)
        finally:
            # What was not acknowledged stays unpublished in the table and is read again.
            publisher.purge()
        return published

    async def _publish(self, publisher: "Publisher", waiting: Sequence[UnpublishedEvent]) -> int:
        if not waiting:
            return 0
        refused = await publisher.publish([each.event for each in waiting if not each.behind])
        if refused:
            first = next(iter(refused.values()))
            activity.logger.error("Kafka refused %s events: %s", len(refused), first)
        refused |= {each.event.id: BEHIND for each in waiting if each.behind}
        published = [each.event.id for each in waiting if each.event.id not in refused]
        letters = {each.event.id: each.event.aggregate_id for each in waiting if each.event.raw}
        async with self._database.statements(SYSTEM) as tx:
            if letters:  # Before: whoever dies between the two does it again.
                await _tell(tx, letters, refused)
            await outbox.mark_published(tx, published)
            await outbox.refuse(tx, refused)
        return len(published)


async def _tell(tx: Transaction, letters: Mapping[int, str], refused: Mapping[int, str]) -> None:
    """What became of the dead letters that are replayed, by the events that they are sent with."""
    sent = [letter for event, letter in letters.items() if event not in refused]
    kept = {letter: refused[event] for event, letter in letters.items() if event in refused}
    await dead_letter.sent(tx, sent)
    await dead_letter.refused(tx, kept)


class Publisher:
    """Produces in order. A refusal of the broker stops its producer, so that no later event
    overtakes the refused one; it then goes on with another."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        self._kafka = kafka
        self._producer = _producer(kafka)

    def purge(self) -> None:
        """Forget what was not acknowledged."""
        self._producer.purge()

    async def publish(self, events: Sequence[OutboxEvent]) -> dict[int, str]:
        """Wait until each is acknowledged or refused; returns why, by id.

        Together first. When that fails, those that are left are sent one by one: only an event that
        is alone is known to be refused for its own sake. Behind one that is refused nothing of its
        topic and aggregate is sent. Raises `RuntimeError` when the brokers take nothing at all.
        """
        left, _ = await self._send(events)
        refused: dict[int, str] = {}
        lines: set[Line] = set()
        for event in events:
            if event.id not in left:
                continue
            if _line(event) in lines:
                refused[event.id] = BEHIND
            elif reason := await self._refusal(event):
                refused[event.id] = reason
                lines.add(_line(event))
        return refused

    async def _refusal(self, event: OutboxEvent) -> str | None:
        """Send an event alone; returns why the broker refuses it."""
        left, stopped = await self._send([event])
        if stopped is None:
            return left.get(event.id)
        if stopped.code() != KafkaError._GAPLESS_GUARANTEE:
            raise RuntimeError(f"Kafka takes nothing: {stopped.str()}")
        return str(stopped.str())

    async def _send(
        self, events: Sequence[OutboxEvent]
    ) -> tuple[dict[int, str], KafkaError | None]:
        """Those that were not acknowledged, by id, and what has stopped the producer if anything
        has."""
        left = dict.fromkeys((event.id for event in events), "It was not sent.")
        lines: set[Line] = set()

        def delivered(id_: int, error: KafkaError | None, _: Message) -> None:
            if error is None:
                del left[id_]
            else:
                left[id_] = error.str()

        try:
            for event in events:
                if _line(event) in lines:
                    continue
                try:
                    self._produce(event, partial(delivered, event.id))
                except KafkaException as refusal:
                    left[event.id] = refusal.args[0].str()
                    lines.add(_line(event))
            while await asyncio.to_thread(self._producer.flush, FLUSH_SECONDS):
                pass
        except (KafkaException, SystemError) as error:
            # The producer has stopped; a SystemError is the same, met inside `delivered`.
            stopped = error if isinstance(error, KafkaException) else error.__cause__
            if not isinstance(stopped, KafkaException):
                raise
            self.purge()
            self._producer = _producer(self._kafka)
            return left, stopped.args[0]
        return left, None

    def _produce(self, event: OutboxEvent, on_delivery: Callable[..., None]) -> None:
        raw = event.raw or _message(event)
        self._producer.produce(
            event.topic,
            key=raw.key,
            value=raw.value,
            headers=list(raw.headers),
            on_delivery=on_delivery,
        )


Line = tuple[str, str]
"""What is published in order: a topic and an aggregate."""


def _line(event: OutboxEvent) -> Line:
    return event.topic, event.aggregate_id


def _producer(kafka: Mapping[str, str]) -> Producer:
    """Idempotent, so that a retry inside the client neither repeats nor reorders a message.

    A message never expires (`message.timeout.ms` 0), and one that the broker refuses stops the
    producer (`enable.gapless.guarantee`): otherwise the next of its key would overtake it. While
    Kafka is down the relay simply waits, and is back soon after it. A topic that is not there is
    known to be missing after 5 s.
    """
    return Producer(
        {
            **kafka,
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "topic.metadata.propagation.max.ms": 5000,
            "reconnect.backoff.max.ms": 1000,
            "linger.ms": 1,
            "compression.type": "zstd",
        },
        logger=_log,
    )


def _message(event: OutboxEvent) -> RawMessage:
    return RawMessage(event.aggregate_id.encode(), _headers(event), orjson.dumps(event.data))


def _headers(event: OutboxEvent) -> Headers:
    """CloudEvents 1.0, Kafka protocol binding in binary mode, and our own."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event.event_id,
        "ce_type": event.topic,
        "ce_source": SOURCE,
        "ce_subject": event.aggregate_id,
        "ce_time": event.occurred_at.isoformat(),
        "content-type": "application/json",
        "aggregate-version": str(event.aggregate_version),
        "customer-id": event.customer_id,
        "Idempotency-Key": event.idempotency_key,
        "traceparent": event.traceparent,
    }
    return tuple((name, value.encode()) for name, value in headers.items() if value is not None)
