"""The relay: every event at least once, first deliveries in order, whatever dies or freezes."""

import asyncio
import json
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from confluent_kafka import KafkaError, Producer
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from activities.outbox import BEHIND, OutboxActivities, RelayTurn
from domain.access import SYSTEM
from domain.event import PARTITIONS, TOPICS, Event, Origin, Topic
from runtime.settings import Settings
from store import outbox, tables
from tests.support.conditions import PATIENCE_SECONDS, eventually, patience
from tests.support.relays import (
    BROKERS,
    RelayBed,
    Writers,
    assert_in_order,
    commit,
    consuming,
    deliveries,
    delivery,
    relay_bed,
)
from tests.support.samples import an_event, new_id

MINE = (Topic.PAYMENT_COMPLETED, Topic.REFUND_COMPLETED)
INIT_PRODUCER_ID = 22
"""Kafka's API key."""


@pytest.fixture(scope="module")
async def bed(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RelayBed]:
    async with relay_bed(settings, tmp_path_factory.mktemp("relays")) as made:
        yield made


@pytest.fixture
async def fresh_bed(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RelayBed]:
    """For one test alone."""
    async with relay_bed(settings, tmp_path_factory.mktemp("relays")) as made:
        yield made


async def relay_until_published(bed: RelayBed) -> None:
    """A relay in this process, until nothing waits."""
    async with relaying(bed):
        await eventually(bed.all_published)


@asynccontextmanager
async def relaying(
    bed: RelayBed, try_again_after: timedelta = timedelta(minutes=5)
) -> AsyncIterator[None]:
    """A relay in this process for the length of the block, in one turn."""
    activities = OutboxActivities(bed.database, bed.settings.kafka)
    environment = ActivityEnvironment()
    wanted = RelayTurn(timedelta(hours=1), try_again_after)
    turn = asyncio.create_task(environment.run(activities.relay, wanted))
    try:
        yield
        assert not turn.done()
    finally:
        environment.cancel()
        await asyncio.gather(turn, return_exceptions=True)


async def check_nothing_is_lost_and_firsts_are_in_order(bed: RelayBed) -> Counter[str]:
    """Returns how often each event was delivered."""
    found = deliveries(bed.settings, MINE)
    times = Counter(each.event_id for each in found)
    assert set(times) >= await bed.committed_of(MINE)
    assert_in_order(found)
    return times


async def test_a_message_is_a_cloud_event_under_the_key_of_its_aggregate(bed: RelayBed) -> None:
    payment_id = new_id()
    told = Event(
        Topic.PAYMENT_FAILED, payment_id, "c-1", {"amount": 7, "why": "카드"}, Origin("k-1", "00-t")
    )
    quiet = Event(Topic.PAYMENT_FAILED, payment_id, "c-1", {}, Origin())
    await commit(bed.database, [told, quiet])

    await relay_until_published(bed)

    async with bed.database.engine.connect() as tx:
        rows = await outbox.of_aggregates(tx, [payment_id])
    first, second = (
        each for each in deliveries(bed.settings, [Topic.PAYMENT_FAILED]) if each.key == payment_id
    )
    assert first.partition == second.partition
    assert json.loads(first.value) == {"amount": 7, "why": "카드"}
    assert datetime.fromisoformat(first.headers.pop("ce_time")) == rows[0].occurred_at
    assert first.headers == {
        "ce_specversion": "1.0",
        "ce_id": rows[0].event_id,
        "ce_type": "billing.payment.failed",
        "ce_source": "/durable-billing",
        "ce_subject": payment_id,
        "content-type": "application/json",
        "aggregate-version": "1",
        "customer-id": "c-1",
        "Idempotency-Key": "k-1",
        "traceparent": "00-t",
    }
    assert second.headers["aggregate-version"] == "2"
    assert not {"Idempotency-Key", "traceparent"} & set(second.headers)


def test_every_topic_has_its_partitions(bed: RelayBed) -> None:
    servers = bed.settings.kafka_bootstrap_servers
    topics = Producer({"bootstrap.servers": servers}).list_topics(timeout=PATIENCE_SECONDS).topics

    assert {name: len(topic.partitions) for name, topic in topics.items()} == dict.fromkeys(
        TOPICS, PARTITIONS
    )


async def test_a_turn_ends_and_says_how_much_it_published(bed: RelayBed) -> None:
    payment_id = new_id()
    await relay_until_published(bed)
    await commit(bed.database, [an_event(payment_id, number) for number in range(3)])
    activities = OutboxActivities(bed.database, bed.settings.kafka)

    turn = RelayTurn(timedelta(seconds=0.3))
    published = [await ActivityEnvironment().run(activities.relay, turn)]
    while not await bed.all_published():  # On a busy machine a turn may be over before it began.
        published.append(await ActivityEnvironment().run(activities.relay, turn))

    assert sum(published) == 3


async def test_a_cancelled_relay_does_not_wait_for_kafka(bed: RelayBed) -> None:
    activities = OutboxActivities(bed.database, bed.settings.kafka)
    environment, beats = ActivityEnvironment(), asyncio.Event()
    environment.on_heartbeat = lambda *details: beats.set()
    with bed.outage(*BROKERS):
        await commit(bed.database, [an_event(new_id())])
        turn = RelayTurn(timedelta(hours=1))
        waiting = asyncio.create_task(environment.run(activities.relay, turn))
        await beats.wait()

        environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert not await bed.all_published()
    await relay_until_published(bed)


async def test_relays_killed_while_publishing_lose_and_reorder_nothing(bed: RelayBed) -> None:
    with bed.slow(milliseconds=30):
        async with Writers(bed.database):
            for _ in range(3):
                relay = bed.start_relay("activity")
                before = await bed.published()

                async def goes_on(before: int = before) -> bool:
                    return await bed.published() > before + 50

                await eventually(goes_on)
                relay.process.send_signal(signal.SIGKILL)

    await relay_until_published(bed)

    times = await check_nothing_is_lost_and_firsts_are_in_order(bed)
    print(f"killed 3 times: {len(times)} events, {times.total() - len(times)} duplicates")


async def test_a_relay_frozen_while_another_publishes_reorders_no_first_delivery(
    bed: RelayBed,
) -> None:
    relays = [bed.start_relay("activity") for _ in range(2)]

    async def goes_on_from(before: int) -> None:
        async def more() -> bool:
            return await bed.published() > before + 30

        await eventually(more)

    duplicates = 0
    async with patience():
        # Until the two have overlapped: that one is frozen between its delivery and its mark.
        while not duplicates:
            async with Writers(bed.database):
                await goes_on_from(await bed.published())
                for number in range(8):
                    frozen = relays[number % 2]
                    frozen.process.send_signal(signal.SIGSTOP)
                    await goes_on_from(await bed.published())
                    frozen.process.send_signal(signal.SIGCONT)
            await eventually(bed.all_published)
            times = await check_nothing_is_lost_and_firsts_are_in_order(bed)
            duplicates = times.total() - len(times)
    for relay in relays:
        relay.process.send_signal(signal.SIGKILL)

    print(f"two owners, freezes in turn: {len(times)} events, {duplicates} duplicates")


async def test_events_wait_for_brokers_that_are_down(bed: RelayBed) -> None:
    relay = bed.start_relay("activity")
    await commit(bed.database, [an_event(new_id())])
    await eventually(bed.all_published)

    for brokers in ([1], list(BROKERS), [2, 3]):
        with bed.outage(*brokers):
            aggregates = [new_id() for _ in range(20)]
            for number in range(5):
                await commit(bed.database, [an_event(each, number) for each in aggregates])
            if len(brokers) == len(BROKERS):
                assert await bed.waiting() >= 100
    await eventually(bed.all_published)
    relay.process.send_signal(signal.SIGKILL)

    await check_nothing_is_lost_and_firsts_are_in_order(bed)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        pytest.param(7, 2, id="REQUEST_TIMED_OUT"),
        pytest.param(19, 2, id="NOT_ENOUGH_REPLICAS"),
        pytest.param(10, 1, id="MSG_SIZE_TOO_LARGE"),
        pytest.param(29, 1, id="TOPIC_AUTHORIZATION_FAILED"),
        pytest.param(87, 2, id="INVALID_RECORD"),
    ],
)
async def test_an_event_that_the_broker_refuses_is_not_overtaken(
    bed: RelayBed, error: int, times: int
) -> None:
    payment_id = new_id()
    # More than one request to the broker can take: the next is on its way when one is refused.
    large = Event(MINE[0], payment_id, "c-1", {"padding": "x" * 10_000}, Origin())
    for _ in range(10):
        await commit(bed.database, [large] * 40)
    bed.refuse_produce(error, times)
    # What is refused alone, too, is tried again with the next turn.
    activities = OutboxActivities(bed.database, bed.settings.kafka)
    while not await bed.all_published():
        await ActivityEnvironment().run(activities.relay, RelayTurn(timedelta(seconds=0.1)))

    await check_nothing_is_lost_and_firsts_are_in_order(bed)


TOO_LARGE = {"padding": "x" * 1_000_001}


async def numbers(bed: RelayBed, topic: Topic) -> dict[str, list[int]]:
    """Which events of each aggregate are on a topic, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for each in await asyncio.to_thread(deliveries, bed.settings, [topic]):
        found[each.key].append(json.loads(each.value)["number"])
    return found


async def test_an_event_that_is_too_large_holds_up_its_own_topic_and_aggregate_only(
    bed: RelayBed,
) -> None:
    order_id, other_id = new_id(), new_id()
    large = Event(Topic.ORDER_STEP, order_id, "c-1", TOO_LARGE, Origin())
    async with relaying(bed):
        await commit(bed.database, [an_event(order_id, 1, Topic.ORDER_STEP), large])
        for number in (2, 3):
            await commit(
                bed.database,
                [
                    an_event(order_id, number, Topic.ORDER_STEP),
                    an_event(order_id, number, Topic.ORDER_FAILED),
                    an_event(other_id, number, Topic.ORDER_STEP),
                ],
            )
        await eventually(bed.all_published_or_refused)

    assert await bed.refused() == 3
    steps = await numbers(bed, Topic.ORDER_STEP)
    assert (steps[order_id], steps[other_id]) == ([1], [2, 3])
    assert (await numbers(bed, Topic.ORDER_FAILED))[order_id] == [2, 3]
    async with bed.database.begin(SYSTEM) as tx:
        rows = await outbox.of_aggregates(tx, [order_id])
        reasons = [row.refusal for row in rows if row.topic == Topic.ORDER_STEP]
        # Nothing mends a size: an operator gives this one event up.
        await outbox.mark_published(tx, [rows[1].id])
    assert reasons == [
        None,
        "billing.order.step: Unable to produce message: Broker: Message size too large",
        *[BEHIND] * 2,
    ]

    async with relaying(bed):
        await eventually(bed.all_published)
    assert (await numbers(bed, Topic.ORDER_STEP))[order_id] == [1, 2, 3]


async def refusals(bed: RelayBed) -> set[tuple[str, str]]:
    """Of which topic what is set aside is, and why."""
    query = select(tables.outbox.c.topic, tables.outbox.c.refusal).where(
        tables.outbox.c.refused_at.is_not(None), tables.outbox.c.published_at.is_(None)
    )
    async with bed.database.engine.connect() as tx:
        return {(topic, refusal) for topic, refusal in await tx.execute(query)}


@pytest.mark.parametrize("error", [3, 29], ids=["UNKNOWN_TOPIC", "TOPIC_AUTHORIZATION_FAILED"])
async def test_a_topic_that_takes_nothing_holds_up_no_other(
    fresh_bed: RelayBed, error: int
) -> None:
    bed = fresh_bed
    aggregates = [new_id() for _ in range(30)]
    topic, other = Topic.INVOICE_CREATED, Topic.INVOICE_PAID

    async def tell(number: int) -> None:
        told = ((each, which) for each in aggregates for which in (topic, other))
        await commit(bed.database, [an_event(each, number, which) for each, which in told])
        await eventually(bed.all_published_or_refused)

    bed.control(f"topic_error {topic} {error}")
    try:
        async with relaying(bed):
            await tell(1)
            await tell(2)
        assert await bed.refused() == 60
        reasons = await refusals(bed) - {(topic, BEHIND)}
        assert {named for named, _ in reasons} == {topic}
        assert all(topic in reason for _, reason in reasons)
    finally:
        bed.control(f"topic_error {topic} 0")
    both = {each: [1, 2] for each in aggregates}
    assert await numbers(bed, other) == both

    # Of those that were refused a turn tries some; that one is taken frees all of its topic.
    async with relaying(bed):
        await eventually(bed.all_published)
    assert await numbers(bed, topic) == both


async def test_what_is_refused_is_tried_again_within_a_turn(fresh_bed: RelayBed) -> None:
    bed, topic, order_id = fresh_bed, Topic.ORDER_STEP, new_id()
    bed.control(f"topic_error {topic} {KafkaError.TOPIC_AUTHORIZATION_FAILED}")
    async with relaying(bed, try_again_after=timedelta(seconds=0.2)):
        await commit(bed.database, [an_event(order_id, 1, topic)])
        await eventually(bed.refused)
        bed.control(f"topic_error {topic} 0")

        await eventually(bed.all_published)

    assert await numbers(bed, topic) == {order_id: [1]}


async def test_the_events_of_a_topic_that_was_missing_go_out_by_themselves_once_it_is_there(
    fresh_bed: RelayBed,
) -> None:
    """Long before anything else that was refused is tried again."""
    bed, topic, order_id = fresh_bed, Topic.ORDER_STEP, new_id()
    bed.control(f"topic_error {topic} {KafkaError.UNKNOWN_TOPIC_OR_PART}")
    async with relaying(bed):
        for number in (1, 2):
            await commit(bed.database, [an_event(order_id, number, topic)])
            await eventually(bed.all_published_or_refused)
        assert await refusals(bed) == {
            (topic, f"{topic} is not there: its events go out by themselves once it is made."),
            (topic, BEHIND),
        }
        bed.control(f"topic_error {topic} 0")

        await eventually(bed.all_published)

    assert await numbers(bed, topic) == {order_id: [1, 2]}


async def test_what_was_acknowledged_before_the_brokers_take_nothing_is_not_sent_again(
    fresh_bed: RelayBed,
) -> None:
    bed = fresh_bed
    activities, environment = (
        OutboxActivities(bed.database, bed.settings.kafka),
        ActivityEnvironment(),
    )
    turn = asyncio.create_task(environment.run(activities.relay, RelayTurn(timedelta(hours=1))))
    await commit(bed.database, [an_event(new_id())])
    await eventually(bed.all_published)
    # One request of several is refused; whoever sends what is left gets no leave to.
    bed.control(f"errors {INIT_PRODUCER_ID} {KafkaError.CLUSTER_AUTHORIZATION_FAILED} 2")
    bed.refuse_produce(KafkaError.MSG_SIZE_TOO_LARGE, 1)
    await commit(bed.database, [an_event(new_id()) for _ in range(100)])
    with pytest.raises(RuntimeError, match="Kafka takes nothing"):
        await turn

    marked = await bed.published() - 1
    assert 0 < marked < 100
    await relay_until_published(bed)
    times = await check_nothing_is_lost_and_firsts_are_in_order(bed)
    print(f"{marked} of 100 were marked, {times.total() - len(times)} came again")
    assert times.total() - len(times) <= 100 - marked


async def test_brokers_that_take_nothing_at_all_refuse_no_event(bed: RelayBed) -> None:
    order_id = new_id()
    await commit(bed.database, [an_event(order_id, 1, Topic.ORDER_FAILED)])
    bed.control(f"errors {INIT_PRODUCER_ID} {KafkaError.CLUSTER_AUTHORIZATION_FAILED} 2")
    activities = OutboxActivities(bed.database, bed.settings.kafka)

    with pytest.raises(RuntimeError, match="Kafka takes nothing"):
        await ActivityEnvironment().run(activities.relay, RelayTurn(timedelta(hours=1)))

    assert (await bed.waiting(), await bed.refused()) == (1, 0)
    await relay_until_published(bed)
    assert (await numbers(bed, Topic.ORDER_FAILED))[order_id] == [1]


async def test_an_event_is_on_kafka_before_another_comes_or_the_turn_ends(bed: RelayBed) -> None:
    bed.start_relay("activity")
    await commit(bed.database, [an_event(new_id())])
    await eventually(bed.all_published)
    delays = []
    with consuming(bed.settings, [Topic.ORDER_COMPLETED]) as consumer:
        for _ in range(30):
            order_id = new_id()
            await commit(bed.database, [an_event(order_id, topic=Topic.ORDER_COMPLETED)])
            committed_at = time.monotonic()
            message = await asyncio.to_thread(consumer.poll, PATIENCE_SECONDS)
            delays.append(time.monotonic() - committed_at)
            assert message is not None
            assert delivery(message).key == order_id
    bed.servers[-1].process.send_signal(signal.SIGKILL)

    p50 = statistics.median(delays)
    print(f"commit to consumer: p50 {p50 * 1000:.0f} ms, slowest {max(delays) * 1000:.0f} ms")
