"""The ranking counts each completed order once, however often its event is delivered."""

import asyncio

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
from tests.support.relays import published, received

__all__ = ["command"]


async def messages_of(database: Database, settings: Settings, order_ids: set[str]) -> list[Message]:
    """Everything on the topic, once the events of these orders are there."""
    await published(database, Topic.ORDER_COMPLETED, order_ids)
    found = await asyncio.to_thread(received, settings, [Topic.ORDER_COMPLETED])
    return list(map(as_received, found))


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
    messages = await messages_of(database, settings, orders)

    # Killed after its transaction and before the commit of its offset: all is delivered again.
    for _ in range(2):
        await ranking_consumer.take(database, messages)
    assert await ranked(database, sku) == await told(database, sku) == Sold(3, 3)

    topic = ("--topic", Topic.ORDER_COMPLETED.value)
    rebuilt = await command("outbox", "republish", *topic, "--rebuild", "ranking")
    assert rebuilt.exit_code == 0, rebuilt.output
    assert await ranked(database, sku) is None
    again = await messages_of(database, settings, orders)
    assert len(again) > len(messages)
    await ranking_consumer.take(database, again)

    assert await ranked(database, sku) == Sold(3, 3)
