"""A consumer never stops: what it cannot take is set aside whole, and the next one is read."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from domain import ranking as rules
from domain.access import SYSTEM
from domain.event import USAGE, USAGE_DEAD_LETTERS, Topic
from domain.message import Headers, Message, Refused
from domain.ranking import Sold
from domain.usage import LATE
from runtime import ranking_consumer, usage_consumer
from runtime.consumer import follow_until, group_id, only
from runtime.consumer import received as as_received
from runtime.logs import words
from runtime.processes import work
from runtime.settings import Settings
from store import customer, inbox, ranking
from store import database as database_module
from store.database import Database
from store.tables import dead_letters, sku_rankings, usage_events
from tests.support import raw_kafka
from tests.support.cables import cable
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.metrics import sample
from tests.support.relays import BROKERS, RelayBed, received, relay_bed

PARTITION = 3
OFFSET_COMMIT = 8
"""Kafka's API key."""
NO_JSON = b"\xff\xfe{"


@pytest.fixture(scope="module")
async def bed(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RelayBed]:
    async with relay_bed(settings, tmp_path_factory.mktemp("consumers")) as made:
        yield made


@dataclass(frozen=True)
class Sent:
    """What was sent. `raw` is a batch written by hand that holds the rest."""

    value: bytes | None
    headers: Headers = ()
    key: bytes | None = b"key"
    timestamp: int = 1_780_000_000_000
    raw: bytes | None = None


class Reader:
    """A consumer of a topic, and how to see what it has taken."""

    name: str
    topic: str
    reads_headers = False

    def __init__(self, bed: RelayBed) -> None:
        self.bed = bed
        self.database = bed.database
        self.sku = f"S-{uuid4().hex}"

    async def consume_until(self, stop: asyncio.Event, database: Database) -> None:
        raise NotImplementedError

    def saying(self, quantity: str = "1", name: str | None = None) -> bytes:
        """JSON with this quantity and this name of a thing, both as they stand in the text."""
        raise NotImplementedError

    async def taken(self) -> int:
        """How many of its good messages have had their effect."""
        raise NotImplementedError

    def good(self, value: bytes | None = None) -> Sent:
        return Sent(value or self.saying(), (("ce_id", str(uuid4()).encode()),))

    async def prepare(self) -> None:
        """Whatever must be there for a message to be good."""

    async def dead_letters(self) -> Mapping[int, Sent]:
        """What went to a topic of dead letters, by its offset in this reader's topic."""
        return {}


class Usage(Reader):
    """Counts usage, and has a topic of dead letters."""

    name, topic = usage_consumer.CONSUMER, USAGE

    async def prepare(self) -> None:
        async with self.database.begin(SYSTEM) as tx:
            await customer.put(tx, self.sku)

    async def consume_until(self, stop: asyncio.Event, database: Database) -> None:
        await usage_consumer.consume_until(stop, database, self.bed.settings.kafka, LATE)

    def saying(self, quantity: str = "1", name: str | None = None) -> bytes:
        now = datetime.now(UTC).isoformat()
        return (
            f'{{"eventId": "e-{uuid4().hex}", "customerId": "{self.sku}", "occurredAt": "{now}",'
            f' "resourceType": "{name or "API_CALL"}", "quantity": {quantity}}}'
        ).encode()

    async def taken(self) -> int:
        mine = usage_events.c.customer_id == self.sku
        async with self.database.engine.connect() as tx:
            return int(await tx.scalar(select(func.count()).where(mine)) or 0)

    async def dead_letters(self) -> Mapping[int, Sent]:
        letters = await asyncio.to_thread(received, self.bed.settings, [USAGE_DEAD_LETTERS])
        return dict(map(_of_letter, letters))


def _of_letter(letter: confluent_kafka.Message) -> tuple[int, Sent]:
    message = as_received(letter)
    end = next(at for at, (name, _) in enumerate(message.headers) if name == "dlt-id")
    about = {name: value or b"" for name, value in message.headers[end:]}
    offset = int.from_bytes(about["kafka_dlt-original-offset"], "big")
    timestamp = int.from_bytes(about["kafka_dlt-original-timestamp"], "big", signed=True)
    return offset, Sent(message.value, message.headers[:end], message.key, timestamp)


class Ranking(Reader):
    """Counts SKUs of completed orders, by the ids in their headers."""

    name, topic = rules.CONSUMER, Topic.ORDER_COMPLETED.value
    reads_headers = True

    async def consume_until(self, stop: asyncio.Event, database: Database) -> None:
        await ranking_consumer.consume_until(stop, database, self.bed.settings.kafka)

    def saying(self, quantity: str = "1", name: str | None = None) -> bytes:
        return f'{{"items": [{{"sku": "{name or self.sku}", "quantity": {quantity}}}]}}'.encode()

    async def taken(self) -> int:
        query = select(sku_rankings.c.orders).where(sku_rankings.c.sku == self.sku)
        async with self.database.engine.connect() as tx:
            return int(await tx.scalar(query) or 0)


class Credulous(Ranking):
    """Checks next to nothing: what is wrong, PostgreSQL or Python has to say. Its planned faults
    come first."""

    name, topic = "credulous", Topic.ORDER_FAILED.value
    reads_headers = False

    def __init__(self, bed: RelayBed) -> None:
        super().__init__(bed)
        self.faults: list[Exception] = []
        self.calls = 0

    async def consume_until(self, stop: asyncio.Event, database: Database) -> None:
        async def take(messages: Sequence[Message]) -> list[Refused]:
            self.calls += 1
            if self.faults:
                raise self.faults.pop()
            async with database.begin(SYSTEM) as tx:
                for message in messages:
                    [item] = json.loads(message.value or b"")["items"]
                    if await inbox.take(tx, self.name, item["id"]):
                        if item["quantity"] in (-1, 1.0000000001):
                            raise ArithmeticError("PostgreSQL's driver would take it")
                        await ranking.count(tx, {item["sku"]: Sold(1, item["quantity"])})
            return []

        kafka = self.bed.settings.kafka
        await follow_until(stop, database, kafka, self.name, only(self.topic), take)

    def saying(self, quantity: str = "1", name: str | None = None) -> bytes:
        sku = name or self.sku
        return (
            f'{{"items": [{{"id": "{uuid4()}", "sku": "{sku}", "quantity": {quantity}}}]}}'.encode()
        )


READERS = [Usage, Ranking, Credulous]
LONG = "".join(random.Random(1).choices("0123456789abcdef", k=9_000))
"""More than an index of PostgreSQL can hold, however well it packs it."""

VALUES: dict[str, bytes | None] = {
    "a tombstone": None,
    "nothing": b"",
    "no JSON": NO_JSON,
    "JSON that is cut off": b'{"items": [{"sku": "A", "quant',
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "a text": b'"items"',
    "an empty object": b"{}",
    "items that are a text": b'{"items": "A"}',
    "items that are numbers": b'{"items": [1, 2]}',
    "depth": b"[" * 100_000,
    "a size near the limit": b"x" * 999_800,
}
QUANTITIES = {
    "less than nothing": "-1",
    "a fraction": "1.0000000001",
    "NaN": "NaN",
    "infinity": "Infinity",
    "one more than bigint holds": str(2**63),
    "thirty digits": "1" + "0" * 30,
    "a text as quantity": '"many"',
    "null as quantity": "null",
    "a list as quantity": "[1]",
}
NAMES = {"a NUL": "\\u0000", "a lone surrogate": "\\ud800", "a name of 9,000 characters": LONG}
ID = b"0197d7a0-0000-7000-8000-000000000000"
HEADERS: dict[str, Headers] = {
    "no ce_id": (("other", b"1"),),
    "a ce_id that is no UTF-8": (("ce_id", b"\xff\xfe"),),
    "a ce_id that is no UUID": (("ce_id", b"1"),),
    "a ce_id without value": (("ce_id", None),),
    "two headers ce_id": (("ce_id", ID), ("ce_id", ID)),
}


def poison(reader: Reader) -> Iterator[tuple[str, Sent]]:
    """Every kind that this reader must not take."""
    for kind, value in VALUES.items():
        yield kind, Sent(value, reader.good().headers)
    for kind, quantity in QUANTITIES.items():
        yield kind, reader.good(reader.saying(quantity))
    for kind, name in NAMES.items():
        yield kind, reader.good(reader.saying(name=name))
    # Who reads no headers is content with any.
    wrong = reader.saying() if reader.reads_headers else NO_JSON
    for kind, headers in HEADERS.items():
        yield kind, Sent(wrong, headers)
    yield "a key that is no UTF-8", Sent(NO_JSON, key=b"\xff\xfe")
    yield "no key", Sent(NO_JSON, key=None)
    yield "the last moment of 64 bits", Sent(NO_JSON, timestamp=2**63 - 1)
    yield "a moment before all time", _by_hand(Sent(NO_JSON, timestamp=-(2**62)))
    yield "a header's name that is no UTF-8", _by_hand(Sent(wrong), [(b"\xff\xfe", b"1")])
    yield (
        "a batch that cannot be unpacked",
        Sent(None, key=None, timestamp=-1, raw=raw_kafka.batch(b"?", attributes=raw_kafka.ZSTD)),
    )


def _by_hand(sent: Sent, headers: Sequence[tuple[bytes, bytes]] = ()) -> Sent:
    record = raw_kafka.record(sent.value, sent.key, headers)
    raw = raw_kafka.batch(record, timestamp=sent.timestamp)
    return Sent(sent.value, (), sent.key, sent.timestamp, raw)


def _parts(sent: Sent) -> dict[str, Any]:
    return {
        "value": sent.value,
        "key": sent.key,
        "headers": [*sent.headers],
        "timestamp": sent.timestamp,
        "partition": PARTITION,
    }


def send(reader: Reader, messages: Sequence[Sent]) -> list[int]:
    """Have them appended to one partition; returns their offsets."""
    servers = reader.bed.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: confluent_kafka.Message) -> None:
        assert error is None, error
        offset = message.offset()
        assert offset is not None
        offsets.append(offset)

    for sent in messages:
        if sent.raw is not None:
            offsets.append(raw_kafka.produce(servers, reader.topic, PARTITION, sent.raw))
            continue
        producer.produce(reader.topic, **_parts(sent), on_delivery=delivered)
        # One at a time: a batch by hand must find its place between them.
        assert producer.flush(PATIENCE_SECONDS) == 0
    return offsets


@asynccontextmanager
async def consuming(reader: Reader, database: Database | None = None) -> AsyncIterator[None]:
    """The consumer runs for the length of the block, and has not ended before its end."""
    stop = asyncio.Event()
    running = asyncio.create_task(reader.consume_until(stop, database or reader.database))
    try:
        yield
        assert not running.done()
    finally:
        stop.set()
        await running


async def set_aside(reader: Reader) -> dict[int, Sent]:
    """Its rows, by offset."""
    query = select(dead_letters).where(
        dead_letters.c.consumer_group == group_id(reader.name),
        dead_letters.c.original_topic == reader.topic,
        dead_letters.c.dlt_topic.is_(None),
    )
    async with reader.database.engine.connect() as tx:
        rows = (await tx.execute(query)).all()
    assert len({row.offset for row in rows}) == len(rows)
    assert {row.partition for row in rows} <= {PARTITION}
    assert all(row.error_class and row.failure_reason for row in rows)
    return {
        row.offset: Sent(
            row.payload,
            tuple(zip(row.header_names, row.header_values, strict=True)),
            row.key,
            row.timestamp,
        )
        for row in rows
    }


async def _started_again(logged: Sequence[Mapping[str, Any]]) -> bool:
    return "a consumer starts again" in [each["event"] for each in logged]


async def all_good_are_taken(reader: Reader, wanted: int) -> None:
    async def taken() -> bool:
        return await reader.taken() == wanted

    await eventually(taken)


@pytest.mark.parametrize("kind_of_reader", READERS)
async def test_every_poison_is_set_aside_whole_and_every_good_message_is_taken(
    bed: RelayBed, kind_of_reader: Callable[[RelayBed], Reader]
) -> None:
    reader = kind_of_reader(bed)
    await reader.prepare()
    kinds = dict(poison(reader))
    before = await set_aside(reader)
    async with consuming(reader):
        offsets = await asyncio.to_thread(
            lambda: [
                send(reader, [reader.good(), bad, reader.good(), reader.good()])[1]
                for bad in kinds.values()
            ]
        )
        await all_good_are_taken(reader, 3 * len(kinds))

    rows = await set_aside(reader)
    letters = await reader.dead_letters()
    assert not set(rows) & set(letters), "set aside once"
    found = {offset: rows[offset] for offset in rows.keys() - before.keys()}
    found |= {offset: letter for offset, letter in letters.items() if offset in offsets}
    named = dict(zip(offsets, kinds, strict=True))
    assert {named.get(offset, offset) for offset in found} == set(kinds)
    for offset, kind in named.items():
        bad = kinds[kind]
        assert found[offset] == Sent(bad.value, bad.headers, bad.key, bad.timestamp), kind
    print(f"{reader.name}: {len(kinds)} kinds, {len(rows)} rows, {len(letters)} letters")
    assert len(kinds) >= 30


@pytest.mark.parametrize(
    "trouble",
    [
        {"topic_error": f"{USAGE_DEAD_LETTERS} 3"},
        {"topic_error": f"{USAGE_DEAD_LETTERS} 29"},
        {"errors": "0 10 1"},
        {"errors": "0 87 1"},
    ],
    ids=["no such topic", "no right", "too large for the broker", "refused by the broker"],
)
async def test_what_the_topic_of_dead_letters_does_not_take_is_a_row(
    bed: RelayBed, trouble: dict[str, str]
) -> None:
    reader = Usage(bed)
    await reader.prepare()
    before = await set_aside(reader)
    [(command, arguments)] = trouble.items()
    offsets = send(reader, [reader.good(), Sent(NO_JSON), reader.good()])
    bed.control(f"{command} {arguments}")
    try:
        async with consuming(reader):
            await all_good_are_taken(reader, 2)
    finally:
        bed.control(f"topic_error {USAGE_DEAD_LETTERS} 0")

    rows = await set_aside(reader)
    assert {rows[offset] for offset in rows.keys() - before.keys()} == {Sent(NO_JSON)}
    assert offsets[1] in rows
    assert offsets[1] not in await reader.dead_letters()


async def test_where_the_topic_of_dead_letters_has_fewer_partitions_each_letter_goes_to_another(
    settings: Settings, tmp_path: Path
) -> None:
    narrow = {USAGE_DEAD_LETTERS: 2}
    async with relay_bed(settings, tmp_path, (USAGE, USAGE_DEAD_LETTERS), narrow) as bed:
        reader = Usage(bed)
        await reader.prepare()
        async with consuming(reader):
            offsets = send(reader, [reader.good(), Sent(NO_JSON), reader.good()])
            await all_good_are_taken(reader, 2)

        assert await set_aside(reader) == {}
        kept = await asyncio.to_thread(received, bed.settings, [USAGE_DEAD_LETTERS], 2)
        assert dict(map(_of_letter, kept)) == {offsets[1]: Sent(NO_JSON)}
        assert [letter.partition() for letter in kept] == [PARTITION % 2]


@pytest.mark.parametrize(
    "faults",
    [
        [OSError("the network is down"), TimeoutError(), MemoryError()],
        [PoolTimeout("no connection is free"), InterfaceError("", {}, Exception("closed"))],
        [KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))],
    ],
    ids=["system", "database", "Kafka"],
)
async def test_a_fault_that_is_not_the_messages_sets_nothing_aside(
    bed: RelayBed, faults: list[Exception]
) -> None:
    reader = Credulous(bed)
    before = await set_aside(reader)
    reader.faults = [*faults]
    send(reader, [reader.good() for _ in range(5)])

    async with consuming(reader):
        await all_good_are_taken(reader, 5)

    assert reader.calls > len(faults), "the same messages were read again"
    assert await set_aside(reader) == before


async def test_a_bug_that_meets_many_messages_at_once_sets_aside_only_its_own(
    bed: RelayBed,
) -> None:
    reader = Credulous(bed)
    before = await set_aside(reader)
    reader.faults = [ZeroDivisionError("of the batch, of none of its messages")]
    send(reader, [reader.good() for _ in range(5)])

    async with consuming(reader):
        await all_good_are_taken(reader, 5)

    assert await set_aside(reader) == before


async def _is_behind(reader: Reader, before: float) -> bool:
    """What it cannot take grows old, and that it begins again is counted."""
    labels = {"consumer": group_id(reader.name)}
    restarted = sample("billing_consumer_restarts_total", **labels) - before
    return sample("billing_consumer_lag_seconds", **labels) > 0 and restarted >= 3


async def _has_caught_up(reader: Reader) -> bool:
    labels = {"consumer": group_id(reader.name)}
    waiting = sample("billing_consumer_lag_messages", **labels)
    return (waiting, sample("billing_consumer_lag_seconds", **labels)) == (0, 0)


@pytest.mark.parametrize("kind_of_reader", READERS)
async def test_while_the_database_is_away_nothing_is_set_aside(
    bed: RelayBed, kind_of_reader: Callable[[RelayBed], Reader]
) -> None:
    reader = kind_of_reader(bed)
    await reader.prepare()
    before = await set_aside(reader)
    url = make_url(bed.settings.database_url)
    assert url.host is not None
    assert url.port is not None
    async with cable(url.host, url.port) as line:
        through = url.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        pool = database_module.connect(through, pool_size=2)
        async with consuming(reader, pool):
            send(reader, [reader.good()])
            await all_good_are_taken(reader, 1)
            await line.cut()
            restarted = sample("billing_consumer_restarts_total", consumer=group_id(reader.name))
            with capture_logs() as logged:
                [_, bad, _] = send(reader, [reader.good(), Sent(NO_JSON), reader.good()])
                await eventually(partial(_is_behind, reader, restarted))
            # However often it begins again, the log says so once a minute of each fault.
            said = [words(each["error"]) for each in logged]
            assert len(said) == len(set(said))
            assert await set_aside(reader) == before
            await line.plug()
            await all_good_are_taken(reader, 3)
            await eventually(partial(_has_caught_up, reader))
        await pool.dispose()

    found = {**await set_aside(reader), **await reader.dead_letters()}
    assert found[bad] == Sent(NO_JSON)


async def test_a_poison_that_is_delivered_again_is_set_aside_once(bed: RelayBed) -> None:
    reader = Credulous(bed)
    # The commit of the offset fails after the row is there.
    bed.control(f"errors {OFFSET_COMMIT} {KafkaError.UNKNOWN_MEMBER_ID} 1")
    [offset, _] = send(reader, [Sent(NO_JSON), reader.good()])

    with capture_logs() as logged:
        async with consuming(reader):
            await eventually(partial(_started_again, logged))
            send(reader, [reader.good()])
            await all_good_are_taken(reader, 2)

    assert sum(each["event"] == "set aside" for each in logged) > 1
    assert (await set_aside(reader))[offset] == Sent(NO_JSON)


async def test_while_the_brokers_are_away_nothing_is_set_aside_that_was_good(
    bed: RelayBed,
) -> None:
    reader = Ranking(bed)
    before = await set_aside(reader)
    async with consuming(reader):
        send(reader, [reader.good()])
        await all_good_are_taken(reader, 1)
        producer = Producer({"bootstrap.servers": bed.settings.kafka_bootstrap_servers})
        with bed.outage(*BROKERS):
            producer.produce(reader.topic, **_parts(reader.good()))
            assert producer.flush(1) == 1, "nobody is there"
        assert await asyncio.to_thread(producer.flush, PATIENCE_SECONDS) == 0
        await all_good_are_taken(reader, 2)

    assert await set_aside(reader) == before


async def test_poison_does_not_end_the_worker(bed: RelayBed) -> None:
    readers = [Ranking(bed), Usage(bed)]
    stop = asyncio.Event()
    for reader in readers:
        await reader.prepare()
        send(reader, [Sent(NO_JSON)])
    working = asyncio.create_task(work(bed.settings, stop))
    try:
        for reader in readers:
            send(reader, [reader.good(), Sent(None), reader.good()])
            await all_good_are_taken(reader, 2)
        await eventually(bed.all_published)
        assert not working.done()
    finally:
        stop.set()
        await working


CONSUMER_GROUP_HEARTBEAT = 68
"""Kafka's API key."""


@pytest.mark.parametrize(
    "trouble",
    [
        f"errors {CONSUMER_GROUP_HEARTBEAT} {KafkaError.UNSUPPORTED_VERSION} 1",
        f"forget {CONSUMER_GROUP_HEARTBEAT}",
    ],
    ids=["told not to know another", "from before Kafka 4"],
)
async def test_where_brokers_know_the_classic_protocol_only_messages_arrive_by_it(
    settings: Settings, tmp_path: Path, trouble: str
) -> None:
    async with relay_bed(settings, tmp_path) as bed:
        reader = Ranking(bed)
        bed.control(trouble)
        with capture_logs() as logged:
            async with consuming(reader):
                send(reader, [reader.good(), reader.good()])
                await all_good_are_taken(reader, 2)

    assert [(each["event"], each["consumer"]) for each in logged] == [
        ("a consumer goes on by the classic protocol", reader.name)
    ]
