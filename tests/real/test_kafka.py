"""Against a real broker of Kafka, for what its stand-in cannot show. Skipped, loudly, where there
is no Java or Maven, or the jars cannot be had."""

import asyncio
import json
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation
from sqlalchemy import func, select
from structlog.testing import capture_logs

from activities.outbox import BEHIND
from dev import process
from domain.access import SYSTEM
from domain.event import PARTITIONS, TOPICS, USAGE, USAGE_DEAD_LETTERS, Topic
from domain.finding import Finding
from runtime import ranking_consumer, topics
from runtime.doctor import Process, examine
from runtime.settings import Settings
from store import customer
from store.tables import sku_rankings, usage_events
from tests.activities.test_outbox import refusals, relaying
from tests.support import real_kafka
from tests.support.conditions import eventually
from tests.support.installations import worker
from tests.support.real_kafka import BOTH, CLASSIC, Broker
from tests.support.relays import (
    RelayBed,
    Writers,
    assert_in_order,
    bed_on,
    commit,
    deliveries,
)
from tests.support.samples import an_event, new_id

PROTOCOLS = pytest.mark.parametrize("protocols", [BOTH, CLASSIC], ids=["KIP-848", "classic"])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with real_kafka.broker(tmp_path_factory.mktemp("real-kafka")) as made:
        yield made


@pytest.fixture(scope="module")
async def shared_bed(
    broker: Broker, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RelayBed]:
    async with bed_on(settings, tmp_path_factory.mktemp("bed"), broker.address) as made:
        yield made


@pytest.fixture
def bed(broker: Broker, shared_bed: RelayBed) -> Iterator[RelayBed]:
    """Without any topic, and with nothing at work after a test."""
    broker.forget_everything()
    yield shared_bed
    process.stop(shared_bed.servers)
    shared_bed.servers.clear()


def usage_of(customer_id: str) -> bytes:
    return json.dumps(
        {
            "eventId": f"e-{uuid4().hex}",
            "customerId": customer_id,
            "occurredAt": datetime.now(UTC).isoformat(),
            "resourceType": "API_CALL",
            "quantity": 1,
        }
    ).encode()


def send(broker: Broker, topic: str, values: list[bytes]) -> None:
    """One to each partition in turn."""
    producer = Producer({"bootstrap.servers": broker.address, "acks": "all"})
    for number, value in enumerate(values):
        headers: list[tuple[str, str | bytes | None]] = [("ce_id", str(uuid4()))]
        producer.produce(topic, value, partition=number % PARTITIONS, headers=headers)
    assert producer.flush(60) == 0


async def test_a_worker_makes_the_topics_that_are_missing_and_what_others_send_arrives(
    broker: Broker, bed: RelayBed
) -> None:
    broker.make([Topic.INVOICE_PAID], 3)
    broker.make([USAGE_DEAD_LETTERS], 2)
    there = {str(topic): PARTITIONS for topic in TOPICS}
    as_they_were = {Topic.INVOICE_PAID: 3, USAGE_DEAD_LETTERS: 2}
    customer_id = f"c-{uuid4().hex}"
    async with bed.database.begin(SYSTEM) as tx:
        await customer.put(tx, customer_id)
    with capture_logs() as logged:
        async with worker(bed.settings):

            async def all_are_there() -> bool:
                return await asyncio.to_thread(broker.topics) == {**there, **as_they_were}

            await eventually(all_are_there)
            good = [usage_of(customer_id) for _ in range(PARTITIONS)]
            await asyncio.to_thread(send, broker, USAGE, [*good, *[b"no usage"] * PARTITIONS])

            async def counted() -> bool:
                mine = usage_events.c.customer_id == customer_id
                async with bed.database.engine.connect() as tx:
                    return await tx.scalar(select(func.count()).where(mine)) == PARTITIONS

            await eventually(counted)

    notice = broker.settings_of(str(Topic.OVERDUE_NOTICE_DLT))
    assert (notice["min.insync.replicas"], notice["retention.ms"]) == ("1", str(90 * 86_400_000))
    narrow = [each for each in logged if each["event"].startswith("a topic has other partitions")]
    assert [(each["topic"], each["partitions"]) for each in narrow] == [(Topic.INVOICE_PAID, 3)]


async def _examined(settings: Settings, about: str) -> dict[str, str]:
    """What the doctor says of something, and what to do."""
    found: list[Finding] = []
    await examine(settings, Process.WORKER, lambda _, each: found.extend(each), lambda _: None)
    return {each.says: each.remedy or "" for each in found if each.about == about}


async def test_where_a_worker_may_not_make_topics_log_and_doctor_name_each(
    broker: Broker, bed: RelayBed
) -> None:
    broker.allow(AclOperation.DESCRIBE, "*")
    limited = broker.as_user(bed.settings)
    with capture_logs() as logged:
        refused = await topics.make(limited, topics.missing({}))
        making = asyncio.create_task(topics.make_sooner_or_later(limited))

        async def all_are_named() -> bool:
            return {each.get("topic") for each in logged} >= set(map(str, TOPICS))

        await eventually(all_are_named)
        making.cancel()

    assert refused.keys() == set(map(str, TOPICS))
    assert broker.topics() == {}
    told = await _examined(limited, "topics")
    assert told.keys() == {f"{topic} is not there." for topic in TOPICS}
    assert all("a worker cannot: " in remedy for remedy in told.values())
    assert all("uthorization failed" in remedy for remedy in told.values())
    assert set((await _examined(bed.settings, "topics")).values()) == {
        "Start a worker, which makes it."
    }


async def test_the_doctor_says_how_soon_another_reads_what_a_dead_worker_did(
    broker: Broker, bed: RelayBed
) -> None:
    said = [each for each in await _examined(bed.settings, "Kafka") if "dead worker" in each]

    told = ["What a dead worker reads goes to another one after 6 s."]
    assert said == (told if broker.protocols == BOTH else [])


async def test_more_replicas_than_there_are_brokers_are_refused_by_the_name_of_the_topic(
    broker: Broker, bed: RelayBed
) -> None:
    three = bed.settings.model_copy(update={"kafka_replication_factor": 3})

    refused = await topics.make(three, [USAGE])

    assert "eplication factor" in str(refused[USAGE])
    assert broker.topics() == {}


LINES = 20
OTHERS = (Topic.PAYMENT_COMPLETED, Topic.REFUND_COMPLETED)
CLOSED = Topic.INVOICE_CREATED


async def _told(bed: RelayBed, ids: list[str], number: int) -> None:
    told = [an_event(each, number, topic) for each in ids for topic in (*OTHERS, CLOSED)]
    await commit(bed.database, told)
    await eventually(bed.all_published_or_refused)


async def _each_once_in_order(bed: RelayBed, topics: tuple[Topic, ...], ids: list[str]) -> None:
    found = await asyncio.to_thread(deliveries, bed.settings, topics)
    numbers = defaultdict[tuple[str, str], list[int]](list)
    for each in found:
        numbers[each.topic, each.key].append(json.loads(each.value)["number"])
    assert numbers == {(topic, id_): [1, 2] for topic in topics for id_ in ids}


async def test_while_one_topic_is_missing_the_others_are_published_once_and_it_follows(
    broker: Broker, bed: RelayBed
) -> None:
    broker.make(OTHERS)
    ids = [new_id() for _ in range(LINES)]
    async with relaying(bed):
        await _told(bed, ids, 1)
        await _told(bed, ids, 2)
        assert await bed.refused() == 2 * LINES
        assert {topic for topic, _ in await refusals(bed)} == {CLOSED}
        await _each_once_in_order(bed, OTHERS, ids)
        broker.make([CLOSED])

        await eventually(bed.all_published)

    await _each_once_in_order(bed, (*OTHERS, CLOSED), ids)


async def test_a_topic_to_which_nothing_may_be_written_is_named_and_the_others_are_published(
    broker: Broker, bed: RelayBed
) -> None:
    broker.make((*OTHERS, CLOSED))
    broker.allow(AclOperation.DESCRIBE, "*")
    broker.allow(AclOperation.WRITE, OTHERS)
    limited = replace(bed, settings=broker.as_user(bed.settings))
    ids = [new_id() for _ in range(LINES)]
    async with relaying(limited, try_again_after=timedelta(seconds=2)):
        await _told(bed, ids, 1)
        await _told(bed, ids, 2)
        [(topic, why)] = await refusals(bed) - {(CLOSED, BEHIND)}
        broker.allow(AclOperation.WRITE, [CLOSED])

        await eventually(bed.all_published)

    assert topic == CLOSED
    assert why.startswith(f"{CLOSED}: ")
    assert "uthorization failed" in why
    found = await asyncio.to_thread(deliveries, bed.settings, (*OTHERS, CLOSED))
    assert len({each.event_id for each in found}) == 2 * LINES * 3
    assert_in_order(found)


@PROTOCOLS
async def test_a_killed_consumers_partitions_go_to_another(
    broker: Broker, bed: RelayBed, protocols: str
) -> None:
    broker.knowing(protocols)
    broker.make(TOPICS)
    sku = f"S-{uuid4().hex}"
    order = json.dumps({"items": [{"sku": sku, "quantity": 1}]}).encode()

    async def counted(wanted: int) -> bool:
        query = select(sku_rankings.c.orders).where(sku_rankings.c.sku == sku)
        async with bed.database.engine.connect() as tx:
            return await tx.scalar(query) == wanted

    first = bed.start_relay("ranking")
    await asyncio.to_thread(send, broker, ranking_consumer.TOPIC, [order] * PARTITIONS)
    await eventually(partial(counted, PARTITIONS))
    bed.start_relay("ranking")
    first.process.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    await asyncio.to_thread(send, broker, ranking_consumer.TOPIC, [order] * PARTITIONS)

    await eventually(partial(counted, 2 * PARTITIONS))
    print(f"{protocols}: another had its partitions after {time.monotonic() - killed_at:.1f} s")


async def test_a_broker_that_is_killed_while_events_are_published_loses_and_reorders_none(
    broker: Broker, bed: RelayBed
) -> None:
    broker.make(TOPICS)
    earlier = await bed.committed_of(Writers.TOPICS)
    relay = bed.start_relay("activity")
    async with Writers(bed.database):
        before = await bed.published()

        async def goes_on() -> bool:
            return await bed.published() > before + 50

        await eventually(goes_on)
        broker.kill()
        waiting = await bed.waiting()

        async def more_wait() -> bool:
            return await bed.waiting() > waiting + 50

        await eventually(more_wait)
        broker.spawn()
        await eventually(partial(asyncio.to_thread, broker.server.ready))
    await eventually(bed.all_published)
    relay.process.send_signal(signal.SIGKILL)

    found = await asyncio.to_thread(deliveries, bed.settings, Writers.TOPICS)
    committed = await bed.committed_of(Writers.TOPICS) - earlier
    assert {each.event_id for each in found} == committed
    assert_in_order(found)
    print(f"killed: {len(committed)} events, {len(found) - len(committed)} came again")
