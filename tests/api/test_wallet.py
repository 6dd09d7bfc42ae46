"""Putting money into a wallet and looking at it."""

import asyncio
from uuid import uuid4

from tests.api.documents import refused, rows_of
from tests.billing import Billing


async def test_a_new_wallet_is_empty(billing: Billing) -> None:
    wallet = await billing.get(f"/api/v1/wallet?customerId={billing.customer_id}")

    assert wallet == {"customerId": billing.customer_id, "balances": []}


async def test_money_from_the_bank_is_booked_at_once(billing: Billing) -> None:
    booked = await billing.top_up(5000)

    assert (booked["status"], booked["source"]) == ("COMPLETED", "BANK_TRANSFER")
    assert (booked["paymentId"], booked["failureCode"]) == (None, None)
    assert await billing.balance() == (5000, 0)


async def test_a_card_fills_the_wallet(billing: Billing) -> None:
    made = await billing.post("/api/v1/wallet/top-ups", {"amount": 5000, "currency": "KRW"})

    top_up = made.json()
    assert (made.status_code, top_up["status"], top_up["source"]) == (201, "COMPLETED", "CARD")
    assert made.headers["Location"] == f"/api/v1/payments/{top_up['paymentId']}"
    payment = await billing.get(made.headers["Location"])
    assert (payment["payableType"], payment["orderId"]) == ("TOP_UP", None)
    assert await billing.balance() == (5000, 0)
    assert (await billing.book(top_up["paymentId"]))["totals"]["KRW"]["captured"] == 5000


async def test_a_declined_card_fills_nothing(billing: Billing) -> None:
    card = await billing.add_card("4000000000000002")
    body = {"amount": 5000, "currency": "KRW", "paymentMethodId": card}

    made = await billing.post("/api/v1/wallet/top-ups", body)

    assert (made.status_code, made.json()["status"]) == (201, "FAILED")
    assert made.json()["failureCode"] == "declined"
    assert await billing.balance() == (0, 0)


async def test_currencies_are_kept_apart(billing: Billing) -> None:
    for amount, currency in ((1, "KRW"), (2, "USD"), (3, "KWD"), (4, "USD")):
        await billing.top_up(amount, currency)

    wallet = await billing.get(f"/api/v1/wallet?customerId={billing.customer_id}")

    assert wallet["balances"] == [
        {"currency": "KRW", "available": 1, "held": 0},
        {"currency": "KWD", "available": 3, "held": 0},
        {"currency": "USD", "available": 6, "held": 0},
    ]


async def test_ten_top_ups_at_once_all_arrive(billing: Billing) -> None:
    await asyncio.gather(*(billing.top_up(100) for _ in range(10)))

    assert await billing.balance() == (1000, 0)


async def test_the_postings_tell_every_move_newest_first(billing: Billing) -> None:
    await billing.top_up(5000)
    paid = await billing.pay(await billing.order(3000), "WALLET")
    path = f"/api/v1/wallet/transactions?customerId={billing.customer_id}"

    page = await billing.get(path)

    moves = [(each["kind"], each["unit"], each["amount"]) for each in page["items"]]
    assert moves[:2] == [("earn", "POINT", 30), ("capture", "KRW", -3000)]
    assert sorted(moves[2:4]) == [("hold", "KRW", -3000), ("hold", "KRW", 3000)]
    assert moves[4:] == [("bank-transfer", "KRW", 5000)]
    assert page["items"][1]["reference"] == f"payment/{paid['id']}/capture"
    assert page["next"] is None


async def test_the_postings_can_be_leafed_through(billing: Billing) -> None:
    for amount in range(1, 6):
        await billing.top_up(amount)
    path = f"/api/v1/wallet/transactions?customerId={billing.customer_id}&limit=2"

    amounts: list[int] = []
    after = ""
    while True:
        page = await billing.get(path + after)
        amounts += [each["amount"] for each in page["items"]]
        if page["next"] is None:
            break
        after = f"&before={page['next']}"

    assert amounts == [5, 4, 3, 2, 1]


async def test_a_top_up_of_nobody_is_not_booked(billing: Billing) -> None:
    nobody = f"c-{uuid4().hex}"
    for source in ("CARD", "BANK_TRANSFER"):
        body = {"amount": 1, "currency": "KRW", "source": source, "customerId": nobody}
        refused(await billing.post("/api/v1/wallet/top-ups", body), 404, "not-found")

    assert set((await rows_of(billing.database, nobody)).values()) == {0}
    assert (await billing.get(f"/api/v1/wallet?customerId={nobody}"))["balances"] == []


async def test_without_a_card_nothing_is_charged(billing: Billing) -> None:
    body = {"amount": 1, "currency": "KRW", "paymentMethodId": str(uuid4())}

    refused(await billing.post("/api/v1/wallet/top-ups", body), 422, "payment-method-missing")
