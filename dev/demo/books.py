"""Steps: the ledger against the gateway's book, and the events as Kafka gives them."""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from dev.demo.payments import krw
from dev.demo.shop import CURRENCY, CUSTOMER
from dev.demo.stage import Stage
from dev.demo.verdict import expect
from domain import ledger as accounts
from domain.access import SYSTEM
from domain.event import PARTITIONS, Topic
from store import ledger, outbox


@dataclass(frozen=True)
class Received:
    """An event as its headers on Kafka describe it."""

    id: str
    topic: str
    aggregate_id: str
    version: int


async def compare_ledger(stage: Stage) -> None:
    """The ledger adds up to zero, and says of the gateway and the wallet what they say."""
    balances = await ledger_balances(stage)
    expect("the sum of all postings", sum(balances.values()), 0)
    available, held = await stage.shop.wallet()
    expect("the ledger on the wallet", balances[accounts.available(CUSTOMER)], available)
    expect("the ledger on money held", balances[accounts.held(CUSTOMER)], held)
    stage.tell(f"All postings of {len(balances)} accounts add up to {krw(0)}.")
    totals = (await stage.shop.book())["totals"][CURRENCY]
    kept = totals["captured"] - totals["refunded"]
    expect("the ledger on the gateway", -balances[accounts.gateway("simulator")], kept)
    stage.tell(
        f"The gateway's own book: {krw(totals['captured'])} captured, "
        f"{krw(totals['refunded'])} refunded. The ledger says the same: {krw(kept)}."
    )


async def ledger_balances(stage: Stage) -> Counter[str]:
    """The sum of every account."""
    async with stage.desk.database.read(SYSTEM) as tx:
        sums = await ledger.balances(tx)
    return Counter({account: total for (account, unit), total in sums.items() if unit == CURRENCY})


async def read_events(stage: Stage) -> None:
    """Every event of this demo is on Kafka, each aggregate's without a gap."""
    async with stage.desk.database.read(SYSTEM) as tx:
        rows = await outbox.of_aggregates(tx, sorted(stage.shop.aggregates))
    received = await _consume(stage, {row.event_id for row in rows})
    stage.events.update(event.topic for event in received)
    for topic, count in sorted(stage.events.items()):
        stage.tell(f"{count:3}  {topic}")
    versions: dict[str, list[int]] = defaultdict(list)
    for event in received:
        versions[event.aggregate_id].append(event.version)
    for aggregate_id, seen in versions.items():
        expect(f"the versions of {aggregate_id}", sorted(seen), list(range(1, len(seen) + 1)))
    stage.tell(f"The versions of each of {len(versions)} orders and payments: 1, 2, 3, no gap.")


async def _consume(stage: Stage, expected: set[str]) -> list[Received]:
    """Read all topics from the beginning until every expected event has come, each once."""
    consumer = Consumer(
        {
            "bootstrap.servers": stage.stack.endpoints.kafka_bootstrap_servers,
            "group.id": "demo",
            "enable.auto.commit": False,
        }
    )
    consumer.assign(
        [
            TopicPartition(topic, partition, OFFSET_BEGINNING)
            for topic in Topic
            for partition in range(PARTITIONS)
        ]
    )
    # By id: at least once is the promise, so the relay that was killed may have sent one twice.
    received: dict[str, Received] = {}
    try:
        while missing := expected - received.keys():
            stage.awaited = f"{len(missing)} of {len(expected)} events are on Kafka"
            for message in await asyncio.to_thread(consumer.consume, 500, 0.1):
                if message.error() is None:
                    event = _read(message)
                    received[event.id] = event
    finally:
        consumer.close()
    return [received[event_id] for event_id in expected]


def _read(message: Message) -> Received:
    received: Any = message.headers()  # a list of (str, bytes) when it comes from a broker
    headers = {name: value.decode() for name, value in received}
    return Received(
        id=headers["ce_id"],
        topic=headers["ce_type"],
        aggregate_id=headers["ce_subject"],
        version=int(headers["aggregate-version"]),
    )
