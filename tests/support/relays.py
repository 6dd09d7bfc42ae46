"""A bed for relays: a database and brokers of its own, relays to kill and freeze, and a reader."""

import asyncio
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from sqlalchemy import func, select

from dev import kafka, process
from dev.process import Server
from domain.access import SYSTEM
from domain.event import PARTITIONS, TOPICS, Event, Topic
from runtime import schema
from runtime.settings import Settings
from store import outbox, tables
from store.database import Database
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.databases import connected, database_of_its_own, named
from tests.support.namespaces import a_namespace
from tests.support.samples import an_event, new_id

BROKERS = range(1, kafka.BROKERS + 1)


@dataclass
class RelayBed:
    """What a relay needs, shared with nobody."""

    settings: Settings
    owner_url: str
    database: Database
    directory: Path
    servers: list[Server] = field(default_factory=list)

    def start_relay(self, kind: str) -> Server:
        """Start `tests.support.relay_process` as `activity`, `worker` or `ranking`."""
        addresses = {
            "DATABASE_URL": self.settings.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "TEMPORAL_ADDRESS": self.settings.temporal_address,
            "TEMPORAL_NAMESPACE": self.settings.temporal_namespace,
        }
        relay = process.start(
            "relay",
            [sys.executable, "-m", "tests.support.relay_process", kind],
            log=self.directory / f"relay-{len(self.servers)}.log",
            ready=lambda: True,
            environment=process.python_environment() | addresses,
        )
        self.servers.append(relay)
        return relay

    def control(self, command: str) -> None:
        """Plan a fault of the brokers, see `dev.kafka.control`."""
        kafka.control(self.directory, command)

    @contextmanager
    def outage(self, *brokers: int) -> Iterator[None]:
        """These brokers are not there."""
        try:
            for broker in brokers:
                self.control(f"down {broker}")
            yield
        finally:
            for broker in brokers:
                self.control(f"up {broker}")

    @contextmanager
    def slow(self, milliseconds: int) -> Iterator[None]:
        """Every broker answers this much later."""
        try:
            for broker in BROKERS:
                self.control(f"rtt {broker} {milliseconds}")
            yield
        finally:
            for broker in BROKERS:
                self.control(f"rtt {broker} 0")

    def refuse_produce(self, error: int, times: int) -> None:
        """The next requests to produce are answered with this error code of Kafka."""
        self.control(f"errors 0 {error} {times}")

    async def published(self) -> int:
        """How many events are marked."""
        async with self.database.engine.connect() as tx:
            return int(await tx.scalar(select(func.count(tables.outbox.c.published_at))) or 0)

    async def waiting(self) -> int:
        """How many events are not marked."""
        waits = tables.outbox.c.published_at.is_(None)
        async with self.database.engine.connect() as tx:
            return int(await tx.scalar(select(func.count()).where(waits)) or 0)

    async def catches_up(self) -> None:
        """Wait until everything is marked that is committed by now."""
        async with self.database.engine.connect() as tx:
            newest = await tx.scalar(select(func.max(tables.outbox.c.id))) or 0
        waits = select(func.count()).where(
            tables.outbox.c.published_at.is_(None), tables.outbox.c.id <= newest
        )

        async def none_waits() -> bool:
            async with self.database.engine.connect() as tx:
                return await tx.scalar(waits) == 0

        await eventually(none_waits)

    async def all_published(self) -> bool:
        return await self.waiting() == 0

    async def all_published_or_refused(self) -> bool:
        return await self.waiting() == await self.refused()

    async def refused(self) -> int:
        async with self.database.engine.connect() as tx:
            return await outbox.count_refused(tx)

    async def committed_of(self, topics: Sequence[Topic]) -> set[str]:
        """The ids of the events of these topics."""
        query = select(tables.outbox.c.event_id).where(tables.outbox.c.topic.in_(topics))
        async with self.database.engine.connect() as tx:
            return set((await tx.execute(query)).scalars())


@asynccontextmanager
async def relay_bed(
    settings: Settings,
    directory: Path,
    topics: Sequence[str] = TOPICS,
    partitions: Mapping[str, int] = {},
) -> AsyncIterator[RelayBed]:
    """A fresh bed; ends its relays by their ids."""
    server = kafka.start(directory, topics, partitions)
    try:
        process.wait_until_ready([server])
        async with bed_on(settings, directory, kafka.bootstrap_servers(directory)) as bed:
            yield bed
    finally:
        process.stop([server])


@asynccontextmanager
async def bed_on(settings: Settings, directory: Path, brokers: str) -> AsyncIterator[RelayBed]:
    """The same beside brokers that are there: a database and a namespace of its own."""
    name = f"relays_{uuid4().hex}"
    owner_url, url = (
        named(each, name) for each in (settings.database_owner_url, settings.database_url)
    )
    own = {
        "database_url": url,
        "kafka_bootstrap_servers": brokers,
        "temporal_namespace": a_namespace("relays"),
    }
    async with (
        database_of_its_own(settings.database_owner_url, name),
        connected(url, pool_size=16) as pool,
    ):
        await asyncio.to_thread(schema.upgrade, owner_url)
        bed = RelayBed(settings.model_copy(update=own), owner_url, pool, directory)
        try:
            yield bed
        finally:
            for each in bed.servers:
                each.process.send_signal(signal.SIGCONT)
            process.stop(bed.servers)


class PlannedAbort(Exception):
    """A transaction that is given up."""


class Writers:
    """Four that commit events of a few aggregates, and abort now and then, until they are told."""

    TOPICS = (Topic.PAYMENT_COMPLETED, Topic.REFUND_COMPLETED)

    def __init__(self, database: Database) -> None:
        self._database = database
        self._aggregates = [new_id() for _ in range(24)]
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Writers":
        self._tasks = [asyncio.create_task(self._write(seed)) for seed in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _write(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self._stopping:
            chosen = dice.choices(self._aggregates, k=dice.randint(1, 3))
            events = [an_event(each, topic=dice.choice(self.TOPICS)) for each in chosen]
            try:
                await commit(self._database, events, abort=dice.random() < 0.2)
            except PlannedAbort:
                await asyncio.sleep(dice.random() / 20)


async def commit(database: Database, events: Sequence[Event], abort: bool = False) -> None:
    """One transaction that tells of these events."""
    async with database.begin(SYSTEM) as tx:
        await outbox.append(tx, *events)
        if abort:
            raise PlannedAbort


@dataclass(frozen=True)
class Delivery:
    """A message as a consumer sees it."""

    topic: str
    partition: int
    key: str
    value: bytes
    headers: dict[str, str]

    @property
    def event_id(self) -> str:
        return self.headers["ce_id"]

    @property
    def version(self) -> int:
        return int(self.headers["aggregate-version"])


@contextmanager
def consuming(
    settings: Settings, topics: Sequence[str], partitions: int = PARTITIONS
) -> Iterator[Consumer]:
    """A consumer of every partition of these topics, from the beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": uuid4().hex,
            "enable.auto.commit": False,
            # The mock cluster lets a fetch of nothing wait this long, whatever comes meanwhile.
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in topics
                for partition in range(partitions)
            ]
        )
        yield consumer
    finally:
        consumer.close()


async def published(database: Database, topic: Topic, aggregates: Iterable[str]) -> None:
    """Wait until the relay has published all that these told on this topic."""
    told = select(func.count(tables.outbox.c.published_at) == func.count()).where(
        tables.outbox.c.topic == topic, tables.outbox.c.aggregate_id.in_(list(aggregates))
    )

    async def nothing_waits() -> bool:
        async with database.engine.connect() as tx:
            return bool(await tx.scalar(told))

    await eventually(nothing_waits)


def received(
    settings: Settings, topics: Sequence[str], partitions: int = PARTITIONS
) -> list[Message]:
    """Everything that these topics hold, in order of each partition."""
    with consuming(settings, topics, partitions) as consumer:
        left = 0
        for topic in topics:
            for partition in range(partitions):
                which = TopicPartition(topic, partition)
                low, high = consumer.get_watermark_offsets(which, timeout=PATIENCE_SECONDS)
                left += high - low
        found: list[Message] = []
        while len(found) < left:
            messages = consumer.consume(min(500, left - len(found)), timeout=PATIENCE_SECONDS)
            assert messages, f"{left - len(found)} messages never came"
            found += messages
    return found


def deliveries(settings: Settings, topics: Sequence[str]) -> list[Delivery]:
    """The same, of our own events."""
    return [delivery(message) for message in received(settings, topics)]


def delivery(message: Message) -> Delivery:
    assert message.error() is None, message.error()
    sent = dict(message.headers() or [])
    headers = {name: value.decode() for name, value in sent.items() if isinstance(value, bytes)}
    key, value = message.key(), message.value()
    topic, partition = message.topic(), message.partition()
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    assert topic is not None
    assert partition is not None
    return Delivery(topic, partition, key.decode(), value, headers)


def first_deliveries(found: Sequence[Delivery]) -> dict[tuple[str, str], list[int]]:
    """The versions of each topic and key in the order in which they were first delivered."""
    seen: set[str] = set()
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for each in found:
        if each.event_id not in seen:
            seen.add(each.event_id)
            versions[each.topic, each.key].append(each.version)
    return versions


def assert_in_order(found: Sequence[Delivery]) -> None:
    """First deliveries of every topic and key rise strictly."""
    for line, versions in first_deliveries(found).items():
        rising = all(before < after for before, after in pairwise(versions))
        assert rising, f"{line} was first delivered as {versions}"
