"""Paying an order over HTTP."""

from tests.billing import Billing


async def test_a_card_payment_completes_and_the_books_agree(billing: Billing) -> None:
    order_id = await billing.order(unit_price=1500, quantity=2)

    paid = await billing.pay(order_id)

    assert (paid["status"], paid["amount"]) == ("COMPLETED", 3000)
    assert (await billing.get(f"/api/v1/orders/{order_id}"))["status"] == "COMPLETED"
    assert (await billing.book(paid["id"]))["totals"]["KRW"] == {"captured": 3000, "refunded": 0}


async def test_a_wallet_payment_moves_the_held_money(billing: Billing) -> None:
    await billing.top_up(5000)

    paid = await billing.pay(await billing.order(3000), "WALLET")

    assert paid["status"] == "COMPLETED"
    assert await billing.balance() == (2000, 0)


async def test_a_declined_split_payment_gives_the_hold_back(billing: Billing) -> None:
    await billing.top_up(5000)
    card = await billing.add_card("4000000000000002")
    order_id = await billing.order(3000)

    paid = await billing.pay(order_id, "SPLIT", walletAmount=1000, paymentMethodId=card)

    assert (paid["status"], paid["failureCode"]) == ("FAILED", "declined")
    assert paid["gatewayCode"] == "card_declined"
    assert await billing.balance() == (5000, 0)
    assert (await billing.get(f"/api/v1/orders/{order_id}"))["status"] == "FAILED"
