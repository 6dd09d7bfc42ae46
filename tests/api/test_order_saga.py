"""An order with everything: coupon, stock, points, wallet and card."""

from typing import Any
from uuid import uuid4

from domain import ledger, points
from domain.access import SYSTEM
from store import wallet
from store.ledger import append
from tests.support.billing import Billing

VALID = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"}
DECLINING = "4000000000000002"


async def put_coupon(billing: Billing, **more: Any) -> str:
    """A coupon of ten percent, or as told; returns its code."""
    code = f"C-{uuid4().hex}"
    body = {"kind": "PERCENTAGE", "basisPoints": 1000, **VALID, **more}
    answer = await billing.api.put(f"/api/v1/coupons/{code}", json=body)
    assert answer.status_code == 201, answer.text
    return code


async def put_stock(billing: Billing, on_hand: int) -> str:
    """A tracked SKU; returns it."""
    sku = f"S-{uuid4().hex}"
    answer = await billing.api.put(f"/api/v1/inventory/{sku}", json={"onHand": on_hand})
    assert answer.status_code == 201, answer.text
    return sku


async def give_points(billing: Billing, amount: int) -> None:
    """Points out of nowhere, booked as issued."""
    async with billing.database.begin(SYSTEM) as tx:
        await wallet.credit(tx, billing.customer_id, points.UNIT, amount)
        target = ledger.available(billing.customer_id)
        postings = ledger.transfer(points.ISSUED, target, points.UNIT, amount)
        await append(tx, ledger.Transaction(f"test/{uuid4()}", "earn", postings))


async def order_of(billing: Billing, sku: str, quantity: int = 1, **more: Any) -> dict[str, Any]:
    """An order of pieces at ₩1,000 each."""
    item = {"sku": sku, "quantity": quantity, "unitPrice": 1000}
    answer = await billing.post("/api/v1/orders", {"currency": "KRW", "items": [item], **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def state_of(billing: Billing, sku: str, code: str) -> dict[str, Any]:
    """Everything that an order can leave behind."""
    stock = await billing.get(f"/api/v1/inventory/{sku}")
    coupon = await billing.get(f"/api/v1/coupons/{code}")
    spendable = await billing.get(f"/api/v1/points?customerId={billing.customer_id}")
    return {
        "stock": (stock["onHand"], stock["reserved"]),
        "coupon": coupon["used"],
        "points": (spendable["available"], spendable["held"]),
        "wallet": await billing.balance(),
    }


async def test_an_order_takes_coupon_stock_points_wallet_and_card(billing: Billing) -> None:
    code, sku = await put_coupon(billing), await put_stock(billing, 5)
    await give_points(billing, 500)
    await billing.top_up(1000)
    made = await order_of(billing, sku, 3, couponCode=code, points=500)
    assert (made["amount"], made["discount"], made["payable"]) == (3000, 300, 2200)

    paid = await billing.pay(made["id"], "SPLIT", walletAmount=1000)

    assert (paid["status"], paid["cardAmount"]) == ("COMPLETED", 1200)
    # 1 % of the 2,200 in money comes back as points.
    assert await state_of(billing, sku, code) == {
        "stock": (2, 0),
        "coupon": 1,
        "points": (22, 0),
        "wallet": (0, 0),
    }
    order = await billing.get(f"/api/v1/orders/{made['id']}")
    assert [(step["step"], step["state"]) for step in order["steps"]] == [
        ("coupon.use", "DONE"),
        ("order.apply_coupon", "DONE"),
        ("inventory.reserve", "DONE"),
        ("wallet.hold", "DONE"),
        ("points.deduct", "DONE"),
        ("gateway.charge", "DONE"),
        ("payment.complete", "DONE"),
    ]


async def test_a_declined_order_gives_everything_back(billing: Billing) -> None:
    code, sku = await put_coupon(billing), await put_stock(billing, 5)
    await give_points(billing, 500)
    await billing.top_up(1000)
    before = await state_of(billing, sku, code)
    card = await billing.add_card(DECLINING)
    made = await order_of(billing, sku, 3, couponCode=code, points=500)

    paid = await billing.pay(made["id"], "SPLIT", walletAmount=1000, paymentMethodId=card)

    assert (paid["status"], paid["failureCode"]) == ("FAILED", "declined")
    assert await state_of(billing, sku, code) == before
    order = await billing.get(f"/api/v1/orders/{made['id']}")
    assert [(step["step"], step["state"]) for step in order["steps"]] == [
        ("coupon.use", "UNDONE"),
        ("order.apply_coupon", "UNDONE"),
        ("inventory.reserve", "UNDONE"),
        ("wallet.hold", "UNDONE"),
        ("points.deduct", "UNDONE"),
        ("gateway.charge", "REFUSED"),
        ("payment.fail", "DONE"),
    ]


async def test_a_refund_gives_points_last_and_takes_earned_ones_back(billing: Billing) -> None:
    sku = await put_stock(billing, 5)
    await give_points(billing, 500)
    made = await order_of(billing, sku, 3, points=500)
    paid = await billing.pay(made["id"])
    assert paid["pointsEarned"] == 25

    async def refund(amount: int) -> dict[str, Any]:
        body = {"paymentId": paid["id"], "amount": amount, "reason": "test"}
        answer = await billing.post("/api/v1/refunds", body)
        assert answer.status_code == 201, answer.text
        refunded: dict[str, Any] = answer.json()
        return refunded

    first, second = await refund(1000), await refund(2000)

    assert (first["cardAmount"], first["pointsAmount"]) == (1000, 0)
    assert (second["cardAmount"], second["pointsAmount"]) == (1500, 500)
    spendable = await billing.get(f"/api/v1/points?customerId={billing.customer_id}")
    assert spendable["available"] == 500


async def test_two_calls_authorize_first_and_capture_at_the_pivot(billing: Billing) -> None:
    answer = await billing.api.post(
        f"/api/v1/customers/{billing.customer_id}/payment-methods",
        json={
            "billingKey": "bk_4242424242424242",
            "last4": "4242",
            "gateway": "simulator-two-calls",
        },
    )
    made = await order_of(billing, "SKU-1", 2)

    paid = await billing.pay(made["id"], paymentMethodId=answer.json()["id"])

    assert paid["status"] == "COMPLETED"
    assert [attempt["operation"] for attempt in paid["attempts"]] == ["authorize", "capture"]
    assert (await billing.book(paid["id"]))["totals"]["KRW"]["captured"] == 2000


async def test_two_calls_void_when_the_points_are_missing(billing: Billing) -> None:
    answer = await billing.api.post(
        f"/api/v1/customers/{billing.customer_id}/payment-methods",
        json={
            "billingKey": "bk_4242424242424242",
            "last4": "4242",
            "gateway": "simulator-two-calls",
        },
    )
    made = await order_of(billing, "SKU-1", 2, points=500)

    paid = await billing.pay(made["id"], paymentMethodId=answer.json()["id"])

    assert (paid["status"], paid["failureCode"]) == ("FAILED", "insufficient-points")
    [authorized] = (await billing.book(paid["id"]))["payments"]
    assert authorized["status"] == "VOIDED"
