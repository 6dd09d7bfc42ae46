"""Putting money into a wallet and looking at it."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from domain.ledger import BANK_CLEARING, Transaction, available, transfer
from domain.money import MAX_BALANCE
from runtime.settings import Settings
from store import ledger, wallet
from tests.api.documents import refused, rows_of
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import may_idle
from tests.support.unfinished import accepted


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
    assert page["nextCursor"] is None


async def test_the_postings_can_be_leafed_through(billing: Billing) -> None:
    for amount in range(1, 6):
        await billing.top_up(amount)
    path = f"/api/v1/wallet/transactions?customerId={billing.customer_id}&limit=2"

    amounts: list[int] = []
    after = ""
    while True:
        page = await billing.get(path + after)
        amounts += [each["amount"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        after = f"&cursor={page['nextCursor']}"

    assert amounts == [5, 4, 3, 2, 1]


async def test_a_posting_that_commits_late_is_on_the_next_page(billing: Billing) -> None:
    """Somebody else's transaction was open while its place in the list was passed."""
    for amount in (1, 2):
        await billing.top_up(amount)
    path = f"/api/v1/wallet/transactions?customerId={billing.customer_id}&limit=1"

    async with billing.database.begin(SYSTEM) as late:
        await may_idle(late)
        await wallet.credit(late, billing.customer_id, "USD", 3)
        await ledger.append(late, bank_transfer(billing, "USD", 3))
        await billing.top_up(4)
        first = await billing.get(path)
        second = await billing.get(f"{path}&cursor={first['nextCursor']}")
    await billing.top_up(5)

    third = await billing.get(f"{path}&cursor={second['nextCursor']}")
    pages = [[each["amount"] for each in page["items"]] for page in (first, second, third)]
    assert pages == [[4], [2], [3, 1]]
    assert (third["nextCursor"], third["hasMore"]) == (None, False)
    newest = await billing.get(path)
    assert [each["amount"] for each in newest["items"]] == [5]


def bank_transfer(billing: Billing, currency: str, amount: int) -> Transaction:
    moved = transfer(BANK_CLEARING, available(billing.customer_id), currency, amount)
    return Transaction(f"test/{uuid4()}", "bank-transfer", moved)


async def test_a_cursor_of_a_wallet_is_good_for_this_wallet_only(billing: Billing) -> None:
    for amount in (1, 2):
        await billing.top_up(amount)
    path = "/api/v1/wallet/transactions?limit=1&customerId="
    cursor = (await billing.get(f"{path}{billing.customer_id}"))["nextCursor"]

    refused(await billing.api.get(f"{path}demo&cursor={cursor}"), 400, "invalid-request")
    refused(await billing.api.get(f"/api/v2/invoices?cursor={cursor}"), 400, "invalid-request")


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


async def filled(billing: Billing, unit: str, amount: int) -> None:
    """A wallet that holds so much."""
    async with billing.database.begin(SYSTEM) as tx:
        await wallet.credit(tx, billing.customer_id, unit, amount)
        moved = transfer(BANK_CLEARING, available(billing.customer_id), unit, amount)
        await ledger.append(tx, Transaction(f"test/{uuid4()}", "bank-transfer", moved))


async def test_a_wallet_takes_no_more_than_it_may_hold(billing: Billing) -> None:
    await filled(billing, "KRW", MAX_BALANCE - 100)
    before = await rows_of(billing.database, billing.customer_id)

    for source in ("BANK_TRANSFER", "CARD"):
        body = {"amount": 101, "currency": "KRW", "source": source}
        answer = await billing.post("/api/v1/wallet/top-ups", body)
        refused(answer, 422, "balance-too-large")
        assert answer.json()["detail"] == (
            "A wallet holds 1,000,000,000,000,000 KRW at most: this one has "
            "999,999,999,999,900 KRW with what is on its way, so 101 KRW more are too much."
        )

    assert await rows_of(billing.database, billing.customer_id) == before
    assert (await billing.top_up(100))["status"] == "COMPLETED"
    assert await billing.balance() == (MAX_BALANCE, 0)


async def test_what_is_on_its_way_has_its_place(billing: Billing, settings: Settings) -> None:
    """A charge that is under way may take the money at any time, and then it must fit."""
    await filled(billing, "KRW", MAX_BALANCE - 500)
    body = {"amount": 300, "currency": "KRW"}
    await accepted(billing, settings, "/api/v1/wallet/top-ups", body)

    bank = {"amount": 201, "currency": "KRW", "source": "BANK_TRANSFER"}
    refused(await billing.post("/api/v1/wallet/top-ups", bank), 422, "balance-too-large")
    await billing.top_up(201, "USD")


async def test_of_ten_top_ups_at_once_as_many_are_taken_as_fit(billing: Billing) -> None:
    await filled(billing, "KRW", MAX_BALANCE - 500)
    body = {"amount": 100, "currency": "KRW"}

    answers = await asyncio.gather(
        *(billing.post("/api/v1/wallet/top-ups", body) for _ in range(10))
    )

    taken = [answer for answer in answers if answer.status_code in (201, 202)]
    assert len(taken) == 5
    for answer in answers:
        if answer not in taken:
            refused(answer, 422, "balance-too-large")
    await eventually(lambda: is_balance(billing, MAX_BALANCE))


async def is_balance(billing: Billing, amount: int) -> bool:
    return await billing.balance() == (amount, 0)


async def test_a_refund_into_a_full_wallet_is_refused_before_anything_moves(
    billing: Billing,
) -> None:
    await billing.top_up(1000)
    paid = await billing.pay(await billing.order(1000), "WALLET")
    await filled(billing, "KRW", MAX_BALANCE - 999)
    body = {"paymentId": paid["id"], "reason": "broken"}

    refused(await billing.post("/api/v1/refunds", body), 422, "balance-too-large")

    part = await billing.post("/api/v1/refunds", {**body, "amount": 999})
    assert (part.status_code, part.json()["status"]) == (201, "COMPLETED")
    assert await billing.balance() == (MAX_BALANCE, 0)


async def test_points_that_are_earned_fit_into_a_full_wallet(billing: Billing) -> None:
    """They come by themselves, so they must never hold up the order that earns them."""
    await filled(billing, "POINT", MAX_BALANCE)

    paid = await billing.pay(await billing.order(1000))

    assert (paid["status"], paid["pointsEarned"]) == ("COMPLETED", 10)


async def test_the_database_refuses_a_balance_that_no_request_could_make(
    billing: Billing,
) -> None:
    with pytest.raises(IntegrityError, match="ck_wallets_bounded"):
        await filled(billing, "KRW", 2 * MAX_BALANCE + 1)
