"""Who reads `billing.order.step` from Kafka, and nothing else, knows where each order stands."""

import asyncio

import orjson
from temporalio.client import Client

from domain.event import Topic
from domain.waits import Waits
from runtime.settings import Settings
from service.starts import start_relay
from store.database import Database
from tests.support.cashier import Cashier
from tests.support.faults import Fault
from tests.support.relays import Delivery, deliveries, published


def stands(found: list[Delivery]) -> dict[str, str]:
    """What the newest step of each order says."""
    newest: dict[str, Delivery] = {}
    for step in found:
        before = newest.get(step.key)
        if before is None or step.version > before.version:
            newest[step.key] = step
    return {key: orjson.loads(step.value)["orderStatus"] for key, step in newest.items()}


async def test_the_newest_step_of_an_order_says_where_it_stands(
    cashier: Cashier,
    settings: Settings,
    database: Database,
    temporal_client: Client,
    relays: None,
) -> None:
    await start_relay(temporal_client)
    paid = await cashier.prepare(0, 1000, goods=await cashier.goods())
    declined = await cashier.prepare(
        0, 1000, number="4000000000000002", goods=await cashier.goods()
    )
    # However slow this machine is: a call that is not back in time is parked again.
    under_way = await cashier.prepare(0, 1000, goods=await cashier.goods(), waits=Waits())
    parked = cashier.plan(under_way, "gateway.charge", Fault.PARK_BEFORE, times=100)
    await cashier.pay(paid)
    await cashier.pay(declined)
    handle = await cashier.start(under_way)
    await parked.reached.wait()

    expected = {
        paid.payable_id: "COMPLETED",
        declined.payable_id: "FAILED",
        under_way.payable_id: "PAYING",
    }
    await published(database, Topic.ORDER_STEP, expected)
    found = stands(await asyncio.to_thread(deliveries, settings, [Topic.ORDER_STEP]))
    assert {order_id: found.get(order_id) for order_id in expected} == expected
    for order_id, status in expected.items():
        assert (await cashier.billing.get(f"/api/v1/orders/{order_id}"))["status"] == status
    parked.release.set()
    await handle.result()
