"""Twenty customers want the last item at once: one gets it, the others get everything back."""

import asyncio
from typing import Any

import httpx2

from store.database import Database
from tests.support.billing import Billing
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import patience

CUSTOMERS = 20
PRICE, POINTS, DISCOUNT = 2000, 300, 500


async def test_the_last_item_goes_to_one_of_twenty_and_the_others_pay_later(
    api: httpx2.AsyncClient, simulator: httpx2.AsyncClient, database: Database, payments: None
) -> None:
    shop = await Billing.for_new_customer(api, simulator, database)
    sku = await shop.put_stock(1)
    code = await shop.put_coupon(amounts={"KRW": DISCOUNT})
    customers = [await Billing.for_new_customer(api, simulator, database) for _ in range(CUSTOMERS)]
    orders: list[str] = []
    for customer in customers:
        await customer.give_points(POINTS)
        made = await customer.order_of(sku, PRICE, couponCode=code, points=POINTS)
        orders.append(made["id"])

    first = await _pay_all(customers, orders)

    assert sorted(paid["status"] for paid in first) == ["COMPLETED"] + ["FAILED"] * 19
    losers = [number for number, paid in enumerate(first) if paid["status"] == "FAILED"]
    assert {first[number]["failureCode"] for number in losers} == {"out-of-stock"}
    assert await _stock_and_coupon(shop, sku, code) == (0, 0, 1)
    for number, customer in enumerate(customers):
        points = await customer.get(f"/api/v1/points?customerId={customer.customer_id}")
        left = (POINTS, 0) if number in losers else ((PRICE - DISCOUNT - POINTS) // 100, 0)
        assert (points["available"], points["held"]) == left
        await assert_clean_slate(customer)

    await shop.put_stock(len(losers), sku)
    again = await _pay_all([customers[n] for n in losers], [orders[n] for n in losers])

    assert {paid["status"] for paid in again} == {"COMPLETED"}
    assert await _stock_and_coupon(shop, sku, code) == (0, 0, CUSTOMERS)
    for customer in customers:
        await assert_clean_slate(customer)


async def _pay_all(customers: list[Billing], orders: list[str]) -> list[dict[str, Any]]:
    """All at once, each to its end."""

    async def pay(customer: Billing, order_id: str) -> dict[str, Any]:
        key = f"pay-{order_id}-{len(customers)}"
        body = {"orderId": order_id, "method": "CARD"}
        async with patience():
            while (answer := await customer.post("/api/v1/payments", body, key)).status_code != 201:
                assert answer.status_code in (202, 409), answer.text
        paid: dict[str, Any] = answer.json()
        return paid

    return await asyncio.gather(*map(pay, customers, orders))


async def _stock_and_coupon(shop: Billing, sku: str, code: str) -> tuple[int, int, int]:
    """(on hand, reserved, coupons used)."""
    stock = await shop.get(f"/api/v1/inventory/{sku}")
    coupon = await shop.get(f"/api/v1/coupons/{code}")
    return stock["onHand"], stock["reserved"], coupon["used"]
