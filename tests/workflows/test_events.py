"""What the world is told of a customer's payments: real rows of the outbox, against the schemas."""

from typing import Any

from sqlalchemy import Row, select

from domain.event import Topic
from store import tables
from store.database import Database
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.schemas import complaints


async def told(database: Database, customer_id: str) -> list[Row[Any]]:
    """Every event about this customer, oldest first."""
    query = select(tables.outbox).where(tables.outbox.c.customer_id == customer_id)
    async with database.engine.connect() as tx:
        return list((await tx.execute(query.order_by(tables.outbox.c.id))).all())


async def test_every_event_of_a_customer_has_the_published_form(billing: Billing) -> None:
    await billing.top_up(50_000)
    await billing.post("/api/v1/wallet/top-ups", {"amount": 700, "currency": "KRW"})
    by_card = await billing.pay(await billing.order(3_000))
    await billing.pay(await billing.order(3_000), "WALLET")
    await billing.pay(await billing.order(3_000), "SPLIT", walletAmount=1_000)
    too_little = await billing.pay(await billing.order(10**9), "WALLET")
    bad_card = await billing.add_card("4000000000000002")
    declined = await billing.pay(await billing.order(3_000), paymentMethodId=bad_card)
    body = {"paymentId": by_card["id"], "amount": 1_000, "reason": "broken on arrival"}
    refund = await billing.post("/api/v1/refunds", body)
    assert refund.status_code == 201, refund.text

    async def all_is_told() -> list[Row[Any]]:
        rows = await told(billing.database, billing.customer_id)
        return rows if {row.topic for row in rows} >= expected else []

    expected = {
        *(Topic.ORDER_CREATED, Topic.ORDER_COMPLETED, Topic.ORDER_FAILED),
        *(Topic.PAYMENT_COMPLETED, Topic.PAYMENT_FAILED, Topic.REFUND_COMPLETED),
    }
    rows = await eventually(all_is_told)

    wrong = {row.topic: found for row in rows if (found := complaints(Topic(row.topic), row.data))}
    assert wrong == {}
    assert too_little["failureCode"] == "insufficient-funds"
    assert declined["failureCode"] == "declined"


async def test_an_order_tells_its_story_in_versions(billing: Billing) -> None:
    bad_card = await billing.add_card("4000000000000002")
    order_id = await billing.order(3_000)
    await billing.pay(order_id, paymentMethodId=bad_card)
    await billing.add_card("4242424242424242")
    paid = await billing.pay(order_id)
    body = {"paymentId": paid["id"], "reason": "broken on arrival"}
    await billing.post("/api/v1/refunds", body)

    rows = await told(billing.database, billing.customer_id)
    stories = {
        aggregate: [
            (row.aggregate_version, row.topic)
            for row in rows
            if row.aggregate_id == aggregate and row.topic != "billing.order.step"
        ]
        for aggregate in (order_id, paid["id"])
    }
    assert [topic for _, topic in stories[order_id]] == [
        "billing.order.created",
        "billing.order.failed",
        "billing.order.completed",
    ]
    assert [topic for _, topic in stories[paid["id"]]] == [
        "billing.payment.completed",
        "billing.refund.completed",
    ]
    for aggregate in stories:
        versions = [row.aggregate_version for row in rows if row.aggregate_id == aggregate]
        assert versions == list(range(1, len(versions) + 1))


async def test_events_carry_the_request_that_set_them_going(billing: Billing) -> None:
    order_id = await billing.order(3_000)
    key = f"pay-{order_id}"
    headers = {
        "Idempotency-Key": key,
        "X-Customer-Id": billing.customer_id,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    body = {"orderId": order_id, "method": "CARD"}
    answer = await billing.api.post("/api/v1/payments", json=body, headers=headers)
    assert answer.status_code == 201, answer.text

    rows = await told(billing.database, billing.customer_id)
    origins = {
        row.topic: (row.idempotency_key, row.traceparent)
        for row in rows
        if row.topic in (Topic.ORDER_COMPLETED, Topic.PAYMENT_COMPLETED)
    }
    assert origins == dict.fromkeys(
        ["billing.order.completed", "billing.payment.completed"], (key, headers["traceparent"])
    )
