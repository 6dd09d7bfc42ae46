"""Who reads `billing.order.step` from Kafka, and nothing else, knows where each order stands."""

import asyncio
import time

import orjson
from temporalio.client import Client

from domain.event import Topic
from runtime.settings import Settings
from service.starts import start_relay
from tests.support.cashier import Cashier
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.faults import Fault
from tests.support.relays import Delivery, consuming, delivery


def read_until(settings: Settings, expected: dict[str, str]) -> dict[str, str]:
    """Read from the beginning until these orders stand as expected, or say how they stand."""
    newest: dict[str, Delivery] = {}
    stand: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    with consuming(settings, [Topic.ORDER_STEP]) as consumer:
        while stand != expected and time.monotonic() < deadline:
            for message in consumer.consume(500, timeout=0.2):
                step = delivery(message)
                before = newest.get(step.key)
                if step.key in expected and (before is None or step.version > before.version):
                    newest[step.key] = step
            stand = {key: orjson.loads(step.value)["orderStatus"] for key, step in newest.items()}
    return stand


async def test_the_newest_step_of_an_order_says_where_it_stands(
    cashier: Cashier, settings: Settings, temporal_client: Client, relays: None
) -> None:
    await start_relay(temporal_client)
    paid = await cashier.prepare(0, 1000, goods=await cashier.goods())
    declined = await cashier.prepare(
        0, 1000, number="4000000000000002", goods=await cashier.goods()
    )
    under_way = await cashier.prepare(0, 1000, goods=await cashier.goods())
    parked = cashier.plan(under_way, "gateway.charge", Fault.PARK_BEFORE)
    await cashier.pay(paid)
    await cashier.pay(declined)
    handle = await cashier.start(under_way)
    await parked.reached.wait()

    expected = {
        paid.payable_id: "COMPLETED",
        declined.payable_id: "FAILED",
        under_way.payable_id: "PAYING",
    }
    assert await asyncio.to_thread(read_until, settings, expected) == expected
    for order_id, status in expected.items():
        assert (await cashier.billing.get(f"/api/v1/orders/{order_id}"))["status"] == status
    parked.release.set()
    await handle.result()
