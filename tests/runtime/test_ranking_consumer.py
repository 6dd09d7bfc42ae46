"""The ranking counts each completed order once, however often its event is delivered."""

import asyncio
import time

from sqlalchemy import select
from temporalio.client import Client

from domain.event import Topic
from domain.message import Message
from domain.ranking import Sold, read, sold
from runtime import ranking_consumer
from runtime.consumer import received as as_received
from runtime.settings import Settings
from service.starts import start_relay
from store.database import Database
from store.tables import outbox, sku_rankings
from tests.cli.conftest import Command, command
from tests.support.billing import Billing
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.relays import consuming

__all__ = ["command"]


def received(settings: Settings, order_ids: set[str]) -> list[Message]:
    """Everything on the topic, up to the events of these orders."""
    found: list[Message] = []
    missing = set(order_ids)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with consuming(settings, [Topic.ORDER_COMPLETED]) as consumer:
        while missing:
            assert time.monotonic() < deadline, f"{missing} never came"
            for message in map(as_received, consumer.consume(500, timeout=0.2)):
                missing.discard((message.key or b"").decode())
                found.append(message)
    return found


async def ranked(database: Database, sku: str) -> Sold | None:
    async with database.engine.connect() as tx:
        query = select(sku_rankings).where(sku_rankings.c.sku == sku)
        row = (await tx.execute(query)).first()
    return None if row is None else Sold(row.orders, row.quantity)


async def told(database: Database, sku: str) -> Sold | None:
    """What the outbox says of this SKU."""
    query = select(outbox.c.data).where(outbox.c.topic == Topic.ORDER_COMPLETED)
    async with database.engine.connect() as tx:
        return sold(map(read, (await tx.execute(query)).scalars())).get(sku)


async def test_delivered_twice_counted_once_and_rebuilt_to_the_same(
    billing: Billing,
    database: Database,
    settings: Settings,
    temporal_client: Client,
    relays: None,
    command: Command,
) -> None:
    await start_relay(temporal_client)
    sku = await billing.put_stock(5)
    orders = {(await billing.order_of(sku, 1000))["id"] for _ in range(3)}
    for order_id in orders:
        assert (await billing.pay(order_id))["status"] == "COMPLETED"
    messages = await asyncio.to_thread(received, settings, orders)

    # Killed after its transaction and before the commit of its offset: all is delivered again.
    for _ in range(2):
        await ranking_consumer.take(database, messages)
    assert await ranked(database, sku) == await told(database, sku) == Sold(3, 3)

    topic = ("--topic", Topic.ORDER_COMPLETED.value)
    rebuilt = await command("outbox", "republish", *topic, "--rebuild", "ranking")
    assert rebuilt.exit_code == 0, rebuilt.output
    assert await ranked(database, sku) is None
    again = await _published_again(database, settings, orders, len(messages))
    await ranking_consumer.take(database, again)

    assert await ranked(database, sku) == Sold(3, 3)


async def _published_again(
    database: Database, settings: Settings, order_ids: set[str], before: int
) -> list[Message]:
    """The topic once the relay has published these orders' events a second time."""
    waits = select(outbox.c.id).where(
        outbox.c.topic == Topic.ORDER_COMPLETED,
        outbox.c.aggregate_id.in_(order_ids),
        outbox.c.published_at.is_(None),
    )

    async def none_waits() -> bool:
        async with database.engine.connect() as tx:
            return (await tx.execute(waits)).first() is None

    await eventually(none_waits)
    messages = await asyncio.to_thread(received, settings, order_ids)
    assert len(messages) >= before
    return messages
