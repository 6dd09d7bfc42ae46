"""The outbox relay: reads, produces and marks. The one activity that does both SQL and Kafka."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer
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
LOOK_SECONDS = 5.0
"""Between two looks for a topic that is missing."""
BEHIND = "Waits for an earlier event of its aggregate."

_MISSING = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
_OF_ITS_TOPIC = _MISSING | {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION}
"""What is said of an event and is true of all of its topic."""

_log = logging.getLogger("librdkafka")


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
        tries_at = looks_at = time.monotonic()
        ends_at = tries_at + turn.duration.total_seconds()
        publisher = Publisher(self._kafka)
        published = 0
        try:
            # One connection for all looks: it costs more to get one than to look.
            async with heartbeats(), self._database.statements(SYSTEM) as reading:
                while (now := time.monotonic()) < ends_at:
                    if now >= tries_at:
                        publisher.try_again()
                        await outbox.try_again(reading, TRIED_AGAIN)
                        tries_at = now + turn.try_again_after.total_seconds()
                    if now >= looks_at:
                        await outbox.free(reading, await publisher.opened())
                        looks_at = now + LOOK_SECONDS
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
        sent = await publisher.publish([each.event for each in waiting if not each.behind])
        refused = {**sent.refused} | {each.event.id: BEHIND for each in waiting if each.behind}
        told = [each.event for each in waiting if each.event.id not in sent.left]
        published = [event.id for event in told if event.id not in refused]
        letters = {event.id: event.aggregate_id for event in told if event.raw}
        # Also where nothing more is taken: what was acknowledged before must not be sent again.
        async with self._database.statements(SYSTEM) as tx:
            if letters:  # Before: whoever dies between the two does it again.
                await _tell(tx, letters, refused)
            await outbox.mark_published(tx, published)
            await outbox.refuse(tx, refused)
        if sent.fault is not None:
            raise RuntimeError(f"Kafka takes nothing: {sent.fault}")
        return len(published)


async def _tell(tx: Transaction, letters: Mapping[int, str], refused: Mapping[int, str]) -> None:
    """What became of the dead letters that are replayed, by the events that they are sent with."""
    sent = [letter for event, letter in letters.items() if event not in refused]
    kept = {letter: refused[event] for event, letter in letters.items() if event in refused}
    await dead_letter.sent(tx, sent)
    await dead_letter.refused(tx, kept)


@dataclass(frozen=True)
class Sent:
    """What became of events: those that are in neither are acknowledged. `left`: nobody knows,
    because of `fault`, which is none of theirs."""

    refused: Mapping[int, str]
    left: frozenset[int] = frozenset()
    fault: str | None = None


class Publisher:
    """Produces in order. A refusal of the broker stops its producer, so that no later event
    overtakes the refused one; it then goes on with another.

    `closed`: topics that take nothing, by what the brokers say of them. Nothing is sent there
    meanwhile: to find out once more would keep all others waiting.
    """

    def __init__(self, kafka: Mapping[str, str]) -> None:
        self._kafka = kafka
        self._producer = _producer(kafka)
        self.closed: dict[str, KafkaError] = {}

    def purge(self) -> None:
        """Forget what was not acknowledged."""
        self._producer.purge()

    def try_again(self) -> None:
        """Send to what is closed, unless it is missing: that is looked for."""
        self.closed = {topic: self.closed[topic] for topic in self._missing()}

    def _missing(self) -> set[str]:
        return {topic for topic, why in self.closed.items() if why.code() in _MISSING}

    async def opened(self) -> list[str]:
        """Which of the topics that were missing are there now; they are closed no more."""
        missing = self._missing()
        if not missing:
            return []
        try:
            found = await asyncio.to_thread(self._producer.list_topics, timeout=LOOK_SECONDS)
        except KafkaException:
            return []
        there = {name for name, topic in found.topics.items() if topic.error is None}
        for topic in (opened := sorted(missing & there)):
            del self.closed[topic]
            activity.logger.info("Kafka has the topic %s now", topic)
        return opened

    async def publish(self, events: Sequence[OutboxEvent]) -> Sent:
        """Wait until each is acknowledged or refused.

        Together first. When that fails, those that are left are sent one by one: only an event that
        is alone is known to be refused for its own sake. Behind one that is refused nothing of its
        topic and aggregate is sent.
        """
        waiting = await self._together(events)
        refused: dict[int, str] = {}
        lines: set[Line] = set()
        for number, event in enumerate(waiting):
            if event.topic not in self.closed and _line(event) in lines:
                refused[event.id] = BEHIND
                continue
            try:
                reason = await self._refusal(event)
            except KafkaException as fault:
                left = frozenset(each.id for each in waiting[number:])
                return Sent(refused, left, fault.args[0].str())
            if reason is not None:
                refused[event.id] = reason
                lines.add(_line(event))
        return Sent(refused)

    async def _together(self, events: Sequence[OutboxEvent]) -> list[OutboxEvent]:
        """Those that are not acknowledged. A topic that turns out to be closed costs the others
        their producer, not their being sent together."""
        waiting, closed = [*events], -1
        while len(self.closed) > closed:
            closed = len(self.closed)
            left, _ = await self._send([each for each in waiting if each.topic not in self.closed])
            waiting = [each for each in waiting if each.id in left or each.topic in self.closed]
        return waiting

    async def _refusal(self, event: OutboxEvent) -> str | None:
        """Send an event alone; returns why the broker refuses it, and names its topic. Raises
        `KafkaException` when the brokers take nothing at all."""
        if event.topic in self.closed:
            return _reason(event.topic, self.closed[event.topic])
        left, stopped = await self._send([event])
        if stopped is not None and stopped.code() != KafkaError._GAPLESS_GUARANTEE:
            raise KafkaException(stopped)
        if not left:
            return None
        return _reason(event.topic, self.closed.get(event.topic, stopped or left[event.id]))

    async def _send(
        self, events: Sequence[OutboxEvent]
    ) -> tuple[dict[int, KafkaError], KafkaError | None]:
        """Those that were not acknowledged, by id, and what has stopped the producer if anything
        has."""
        left = {event.id: KafkaError(KafkaError._PURGE_QUEUE) for event in events}
        lines: set[Line] = set()

        def delivered(id_: int, error: KafkaError | None, _: object) -> None:
            # No call in here: the client may have raised already, which a call would lose.
            if error is None:
                del left[id_]
            else:
                left[id_] = error

        for event in events:
            if _line(event) in lines:
                continue
            try:
                self._produce(event, partial(delivered, event.id))
            except KafkaException as refusal:
                left[event.id] = refusal.args[0]
                lines.add(_line(event))
        stopped = await self._flush()
        self._close(events, left)
        return left, stopped

    def _close(self, events: Sequence[OutboxEvent], left: Mapping[int, KafkaError]) -> None:
        """What takes nothing, by what was said of its events."""
        for event in events:
            error = left.get(event.id)
            if error is None or error.code() not in _OF_ITS_TOPIC or event.topic in self.closed:
                continue
            self.closed[event.topic] = error
            activity.logger.error("%s", _reason(event.topic, error))

    async def _flush(self) -> KafkaError | None:
        """Wait until each message is acknowledged or refused; returns what has stopped the
        producer, if anything has. There is another one then."""
        try:
            while await asyncio.to_thread(self._producer.flush, FLUSH_SECONDS):
                pass
        except (KafkaException, SystemError) as error:
            # A SystemError is the same, met inside a callback.
            stopped = error if isinstance(error, KafkaException) else error.__cause__
            if not isinstance(stopped, KafkaException):
                raise
            self.purge()
            # What was acknowledged, or refused, before is told still.
            with suppress(KafkaException, SystemError):
                await asyncio.to_thread(self._producer.flush, FLUSH_SECONDS)
            self._producer = _producer(self._kafka)
            fault: KafkaError = stopped.args[0]
            return fault
        return None

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


def _reason(topic: str, error: KafkaError) -> str:
    """A sentence for whoever has to see to it."""
    if error.code() in _MISSING:
        return f"{topic} is not there: its events go out by themselves once it is made."
    return f"{topic}: {error.str()}"


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
