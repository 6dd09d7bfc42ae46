"""Making orders and looking at them."""

from typing import Any
from uuid import uuid4

from sqlalchemy import select

from domain.money import DECIMALS, MAX_MINOR_UNITS
from store.tables import outbox
from tests.api.documents import refused, rows_of
from tests.support.billing import Billing


def line(unit_price: int, quantity: int = 1, sku: str = "SKU-1") -> dict[str, Any]:
    return {"sku": sku, "quantity": quantity, "unitPrice": unit_price}


async def test_an_order_adds_its_lines_up_and_can_be_read_again(billing: Billing) -> None:
    items = [line(1500, 2), line(1, 7, "sku.b_2")]

    made = await billing.post("/api/v1/orders", {"currency": "KRW", "items": items})

    order = made.json()
    assert (made.status_code, order["amount"], order["status"]) == (201, 3007, "CREATED")
    assert (order["customerId"], order["items"]) == (billing.customer_id, items)
    assert made.headers["Location"] == f"/api/v1/orders/{order['id']}"
    assert order["createdAt"].endswith(("Z", "+00:00"))
    assert await billing.get(made.headers["Location"]) == order


async def test_an_order_is_announced_once(billing: Billing) -> None:
    key, trace = uuid4().hex, f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"
    headers = {"Idempotency-Key": key, "traceparent": trace, "X-Customer-Id": billing.customer_id}
    body = {"currency": "KRW", "items": [line(1000)]}

    made = await billing.api.post("/api/v1/orders", json=body, headers=headers)

    async with billing.database.engine.connect() as tx:
        query = select(outbox).where(outbox.c.aggregate_id == made.json()["id"])
        [event] = (await tx.execute(query)).all()
    assert (event.topic, event.aggregate_version) == ("billing.order.created", 1)
    assert (event.idempotency_key, event.traceparent) == (key, trace)
    assert (event.data["amount"], event.data["customerId"]) == (1000, billing.customer_id)


async def test_the_body_may_name_the_customer(billing: Billing) -> None:
    body = {"currency": "KRW", "items": [line(1)], "customerId": billing.customer_id}

    made = await billing.api.post("/api/v1/orders", json=body, headers={"Idempotency-Key": "k-1"})

    assert made.json()["customerId"] == billing.customer_id


async def test_an_order_of_nobody_is_not_made(billing: Billing) -> None:
    nobody = f"c-{uuid4().hex}"
    body = {"currency": "KRW", "items": [line(1)], "customerId": nobody}

    refused(await billing.post("/api/v1/orders", body), 404, "not-found")

    assert set((await rows_of(billing.database, nobody)).values()) == {0}


async def test_every_currency_can_be_ordered_in(billing: Billing) -> None:
    """KRW has no decimals, USD two, KWD three: an amount is always whole minor units."""
    assert (DECIMALS["KRW"], DECIMALS["USD"], DECIMALS["KWD"]) == (0, 2, 3)

    for currency in DECIMALS:
        made = await billing.post("/api/v1/orders", {"currency": currency, "items": [line(1)]})
        assert (made.status_code, made.json()["currency"]) == (201, currency)


async def test_the_largest_order_is_one_and_a_larger_one_is_none(billing: Billing) -> None:
    whole = {"currency": "KRW", "items": [line(MAX_MINOR_UNITS // 1_000_000, 1_000_000)]}
    above = {"currency": "KRW", "items": [line(MAX_MINOR_UNITS), line(1)]}

    assert (await billing.post("/api/v1/orders", whole)).json()["amount"] == MAX_MINOR_UNITS
    refused(await billing.post("/api/v1/orders", above), 400, "invalid-request")


async def test_an_order_shows_the_steps_of_its_payment(billing: Billing) -> None:
    await billing.top_up(400)
    order_id = await billing.order(1000)

    paid = await billing.pay(order_id, "SPLIT", walletAmount=400)

    order = await billing.get(f"/api/v1/orders/{order_id}")
    assert order["status"] == "COMPLETED"
    assert {step["paymentId"] for step in order["steps"]} == {paid["id"]}
    assert {step["step"]: step["state"] for step in order["steps"]} == {
        "wallet.hold": "DONE",
        "gateway.charge": "DONE",
        "payment.complete": "DONE",
    }


async def test_a_failed_payment_shows_what_was_refused_and_undone(billing: Billing) -> None:
    await billing.top_up(400)
    await billing.add_card("4000000000000002")
    order_id = await billing.order(1000)

    await billing.pay(order_id, "SPLIT", walletAmount=400)

    order = await billing.get(f"/api/v1/orders/{order_id}")
    states = {step["step"]: step["state"] for step in order["steps"]}
    assert (order["status"], states["gateway.charge"]) == ("FAILED", "REFUSED")
    assert states["wallet.hold"] == "UNDONE"


async def test_an_order_that_does_not_exist_is_not_found(billing: Billing) -> None:
    refused(await billing.api.get(f"/api/v1/orders/{uuid4()}"), 404, "not-found")
