"""Following a Kafka topic: at least once, each batch committed after its effect is.

A consumer never stops. What it cannot take becomes a dead letter, a row that has all of it, before
the offset is committed, and the next message is read. A fault that is not the message's (the
database or the brokers are away) sets nothing aside: after a pause the same messages are read
again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from math import inf
from operator import methodcaller
from typing import Any

import confluent_kafka
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from prometheus_client import Counter, Gauge

from domain.access import SYSTEM
from domain.dead_letter import set_aside
from domain.message import UNREADABLE, Headers, Message, Refused, refused
from runtime import complaints, tracing
from runtime.logs import words
from store import dead_letter
from store.database import ERRORS, Database, refuses_values

BATCH = 500
WAIT_SECONDS = 0.5
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 10.0
JOIN_SECONDS = 15.0
"""How long it may take until a consumer has partitions by KIP-848; most often it is a few."""
TELL_SECONDS = 60.0
"""Between two lines of the log that say the same."""

Take = Callable[[Sequence[Message]], Awaitable[Sequence[Refused]]]
"""Takes messages in one transaction and returns those that it refuses. For one that it does not
know how to refuse it raises, and nothing is taken: the others then come again without that one."""

Topics = Callable[[Consumer], list[str]]
"""Which topics there are to follow: asked at the beginning, and now and then."""

# Not `message.headers()`: where Python has optimized that call, nobody looks whether the client has
# raised, and what it returns then ends the process.
_HEADERS = methodcaller("headers")

GROUPS = {"group.protocol": "consumer"}
"""KIP-848: brokers of Kafka 4. How long a dead worker keeps its partitions is theirs to say."""
CLASSIC = {
    "group.protocol": "classic",
    # Who comes or goes stops nobody whose partitions stay.
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "2000",
}
"""For those before, and those that are told to know this one only."""

_NOT_KNOWN = [
    KafkaError(code).str()
    for code in (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE)
]
_UNREADABLE = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})

LAG = Gauge(
    "billing_consumer_lag_messages",
    "Messages that wait in this process's partitions.",
    ["consumer"],
)
LAG_SECONDS = Gauge(
    "billing_consumer_lag_seconds", "Age of the oldest message that is in hand.", ["consumer"]
)
RESTARTS = Counter(
    "billing_consumer_restarts", "How often a consumer began again after a fault.", ["consumer"]
)

_client_log = logging.getLogger(complaints.NAME)
log = structlog.get_logger()


async def follow_until(
    stop: asyncio.Event,
    database: Database,
    kafka: Mapping[str, str],
    name: str,
    topics: Topics,
    take: Take,
) -> None:
    """Hand messages to `take` until told to stop; after a fault begin again at the last offset that
    was committed."""
    protocol, told = GROUPS, dict[str, float]()
    while not stop.is_set():
        try:
            consumer = _consumer({**kafka, **protocol}, name)
            joining = _Joining(JOIN_SECONDS if protocol is GROUPS else inf)
            await _follow(stop, database, consumer, joining, name, topics, take)
        except Exception as error:
            if protocol is GROUPS and _is_not_known(error):
                log.warning("a consumer goes on by the classic protocol", consumer=name)
                protocol = CLASSIC
                continue
            # Whatever it was: without its consumer a topic is never read again.
            RESTARTS.labels(group_id(name)).inc()
            now, why = time.monotonic(), words(error)
            if now - told.get(why, -TELL_SECONDS) >= TELL_SECONDS:
                log.warning("a consumer starts again", consumer=name, error=error)
                told[why] = now
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)


class _NotJoined(Exception):
    """Nothing says why it has no partitions."""


class _Joining:
    """Watches a consumer until it has been given partitions for the first time.

    Before Kafka 4 brokers do not know KIP-848 at all, and the client waits for them for ever,
    without a word. Who has no partitions for another reason (there are enough members) can as well
    be a classic one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at: float | None = None

    def begin(self) -> None:
        """It has asked for some."""
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self._seconds

    def check(self, consumer: Consumer) -> None:
        """Raises `_NotJoined` when it has taken too long."""
        if self._ends_at is None or self._ends_at == inf:
            return
        if consumer.assignment():
            self._ends_at = inf
        elif time.monotonic() > self._ends_at:
            raise _NotJoined


def _is_not_known(error: Exception) -> bool:
    """Of the protocol by which groups are formed. Brokers that are told not to know it say so, but
    the client tells it in words alone: its code says that it can do nothing more."""
    if isinstance(error, _NotJoined):
        return True
    if not isinstance(error, KafkaException) or error.args[0].code() != KafkaError._FATAL:
        return False
    return any(sentence in error.args[0].str() for sentence in _NOT_KNOWN)


def only(topic: str) -> Topics:
    """One topic, whatever there is."""
    return lambda _: [topic]


class Progress:
    """How far one consumer of this process has come, as its metrics tell."""

    def __init__(self, name: str) -> None:
        self._oldest: float | None = None
        self._behind = LAG.labels(group_id(name))
        RESTARTS.labels(group_id(name))
        LAG_SECONDS.labels(group_id(name)).set_function(self._age)

    @staticmethod
    @cache
    def of(name: str) -> "Progress":
        """The same one after each fault: what could not be taken goes on growing old."""
        return Progress(name)

    def read(self, messages: Sequence[Message]) -> None:
        """These are in hand now."""
        if messages:
            self._oldest = min(each.timestamp for each in messages) / 1000

    def taken(self, behind: int | None) -> None:
        """Nothing is in hand, and so many wait; None while nobody knows."""
        if behind is not None:
            self._oldest = None
            self._behind.set(behind)

    def _age(self) -> float:
        return 0.0 if self._oldest is None else max(0.0, time.time() - self._oldest)


def _behind(consumer: Consumer) -> int | None:
    """How many messages wait in the partitions that are ours, as far as the client has heard; asks
    nobody."""
    places = consumer.position(consumer.assignment())
    if not places:
        return None
    ends = [consumer.get_watermark_offsets(each, cached=True)[1] for each in places]
    return sum(
        max(0, end - each.offset)
        for each, end in zip(places, ends, strict=True)
        # Below 0: nothing has come from there yet.
        if each.offset >= 0 and end >= 0
    )


def group_id(name: str) -> str:
    """The consumer group of a consumer."""
    return f"billing-{name}"


def received(message: confluent_kafka.Message) -> Message:
    """What a message says, all of it. Once only: a second look at headers that the client could not
    read ends the process."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a message that was not received")
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=message.timestamp()[1],
        key=_bytes(message.key()),
        headers=_headers(message),
        value=_bytes(message.value()) if message.error() is None else None,
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _headers(message: confluent_kafka.Message) -> Headers:
    """None when one of them has a name that is not UTF-8: the client cannot hand them over."""
    try:
        found: Any = _HEADERS(message)
    except SystemError:
        return ()
    return tuple((name, _bytes(value)) for name, value in found or ())


async def _follow(
    stop: asyncio.Event,
    database: Database,
    consumer: Consumer,
    joining: "_Joining",
    name: str,
    topics: Topics,
    take: Take,
) -> None:
    progress = Progress.of(name)
    try:
        followed, look_at = list[str](), 0.0
        while not stop.is_set():
            if time.monotonic() >= look_at:
                wanted = await asyncio.to_thread(topics, consumer)
                if wanted != followed:
                    consumer.subscribe(wanted)
                    joining.begin()
                followed, look_at = wanted, time.monotonic() + LOOK_SECONDS
            found = await asyncio.to_thread(consumer.consume, BATCH, WAIT_SECONDS)
            joining.check(consumer)
            messages = [received(each) for each in found if each.error() is None]
            progress.read(messages)
            if messages:
                with tracing.taking(group_id(name), messages):
                    await _set_aside(database, name, await _refused(take, messages))
                await asyncio.to_thread(consumer.commit, asynchronous=False)
            progress.taken(await asyncio.to_thread(_behind, consumer))
            # After the others: what is wrong with one partition must not keep them waiting.
            faults = {(each.topic(), each.partition()): each for each in found if each.error()}
            for fault in faults.values():
                await _step_over(database, consumer, name, fault)
    finally:
        await asyncio.to_thread(consumer.close)


async def _refused(take: Take, messages: Sequence[Message]) -> list[Refused]:
    """Have them taken; returns those that cannot be. What fails as a whole is halved until each
    fault has its message."""
    try:
        return [*await take(messages)]
    except Exception as error:
        if not _is_of_the_message(error):
            raise
        if len(messages) == 1:
            return [refused(messages[0], error)]
    middle = len(messages) // 2
    first = await _refused(take, messages[:middle])
    return first + await _refused(take, messages[middle:])


def _is_of_the_message(error: Exception) -> bool:
    if isinstance(error, ERRORS):
        return refuses_values(error)
    return not isinstance(error, (KafkaException, OSError, MemoryError))


async def _set_aside(database: Database, name: str, cannot_be_taken: Sequence[Refused]) -> None:
    if not cannot_be_taken:
        return
    async with database.begin(SYSTEM) as tx:
        for each in cannot_be_taken:
            await dead_letter.put(tx, set_aside(group_id(name), each))
    # Not why: the reason may quote the message.
    log.error("set aside", consumer=name, messages=len(cannot_be_taken))


async def _step_over(
    database: Database, consumer: Consumer, name: str, fault: confluent_kafka.Message
) -> None:
    """Go on behind what not even the client can read; raises `KafkaException` for other faults.

    A batch of records that cannot be unpacked is told with its first offset only: it is told again,
    and set aside once, until its last offset is behind.
    """
    error = fault.error()
    assert error is not None
    if error.code() not in _UNREADABLE:
        raise KafkaException(error)
    message = received(fault)
    unreadable = Refused(message, UNREADABLE, error.str())
    await _set_aside(database, name, [unreadable])
    place = TopicPartition(message.topic, message.partition)
    [committed] = await asyncio.to_thread(consumer.committed, [place])
    place.offset = max(committed.offset, message.offset) + 1
    await asyncio.to_thread(consumer.commit, offsets=[place], asynchronous=False)
    consumer.seek(place)


def _consumer(kafka: Mapping[str, str], name: str) -> Consumer:
    return Consumer(
        {
            **kafka,
            "group.id": group_id(name),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        },
        logger=_client_log,
    )
