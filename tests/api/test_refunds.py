"""Giving money back over HTTP: never more than was taken."""

import asyncio
from collections import Counter
from uuid import uuid4

from temporalio.client import Client

from runtime.settings import Settings
from tests.api.documents import refused, rows_of
from tests.support.billing import Billing
from tests.support.unfinished import accepted, refund_in_review


async def test_all_of_a_card_payment_goes_back(billing: Billing) -> None:
    paid = await billing.pay(await billing.order(3000))

    made = await billing.post("/api/v1/refunds", {"paymentId": paid["id"], "reason": "broken"})

    refund = made.json()
    assert (made.status_code, refund["status"], refund["amount"]) == (201, "COMPLETED", 3000)
    assert made.headers["Location"] == f"/api/v1/refunds/{refund['id']}"
    assert await billing.get(made.headers["Location"]) == refund
    totals = (await billing.book(paid["id"]))["totals"]["KRW"]
    assert totals == {"captured": 3000, "refunded": 3000}
    after = await billing.get(f"/api/v1/payments/{paid['id']}")
    assert (after["status"], after["refundedAmount"]) == ("COMPLETED", 3000)


async def test_partial_refunds_take_the_card_first_and_end_with_the_capture(
    billing: Billing,
) -> None:
    await billing.top_up(1000)
    paid = await billing.pay(await billing.order(3000), "SPLIT", walletAmount=1000)
    body = {"paymentId": paid["id"], "reason": "a part"}

    parts = []
    for amount in (1500, 1000):
        made = await billing.post("/api/v1/refunds", {**body, "amount": amount})
        parts.append((made.json()["cardAmount"], made.json()["walletAmount"]))
    refused(
        await billing.post("/api/v1/refunds", {**body, "amount": 501}),
        422,
        "refund-exceeds-capture",
    )
    rest = (await billing.post("/api/v1/refunds", body)).json()

    assert parts == [(1500, 0), (500, 500)]
    assert (rest["cardAmount"], rest["walletAmount"]) == (0, 500)
    assert await billing.balance() == (1000, 0)
    refused(await billing.post("/api/v1/refunds", body), 422, "not-refundable")
    totals = (await billing.book(paid["id"]))["totals"]["KRW"]
    assert totals == {"captured": 2000, "refunded": 2000}


async def test_ten_refunds_at_once_give_back_what_there_is(billing: Billing) -> None:
    paid = await billing.pay(await billing.order(3000))
    body = {"paymentId": paid["id"], "amount": 1000, "reason": "one of ten"}

    answers = await asyncio.gather(*(billing.post("/api/v1/refunds", body) for _ in range(10)))

    assert Counter(answer.status_code for answer in answers) == {201: 3, 422: 7}
    for answer in answers:
        if answer.status_code == 422:
            refused(answer, 422, "not-refundable")
    assert (await billing.book(paid["id"]))["totals"]["KRW"]["refunded"] == 3000


async def test_what_took_no_money_gives_none_back(billing: Billing, settings: Settings) -> None:
    """A payment that failed, and one that is not over yet."""
    pending = await accepted(
        billing,
        settings,
        "/api/v1/payments",
        {"orderId": await billing.order(), "method": "CARD"},
    )
    await billing.add_card("4000000000000002")
    failed = await billing.pay(await billing.order())
    before = await rows_of(billing.database, billing.customer_id)

    for payment_id in (failed["id"], pending.json()["id"]):
        body = {"paymentId": payment_id, "reason": "please"}
        refused(await billing.post("/api/v1/refunds", body), 422, "not-refundable")

    assert await rows_of(billing.database, billing.customer_id) == before


async def test_a_top_up_is_not_refunded_while_the_wallet_keeps_it(billing: Billing) -> None:
    """Its money is in the wallet: given back to the card as well it would be there twice."""
    top_up = await billing.post("/api/v1/wallet/top-ups", {"amount": 5000, "currency": "KRW"})
    payment_id = top_up.json()["paymentId"]

    body = {"paymentId": payment_id, "reason": "I want it back"}
    answer = await billing.post("/api/v1/refunds", body)

    refused(answer, 422, "not-refundable")
    assert (await billing.book(payment_id))["totals"]["KRW"]["refunded"] == 0
    assert await billing.balance() == (5000, 0)


async def test_a_refund_that_the_pg_declines_is_an_answer(billing: Billing) -> None:
    """What it had set aside can be refunded again."""
    await billing.add_card("4000000000019002")
    paid = await billing.pay(await billing.order(1000))
    body = {"paymentId": paid["id"], "reason": "broken"}

    for _ in range(2):
        made = await billing.post("/api/v1/refunds", body)
        assert (made.status_code, made.json()["status"]) == (201, "FAILED")
        assert made.json()["failureCode"] == "declined"

    assert (await billing.get(f"/api/v1/payments/{paid['id']}"))["refundedAmount"] == 0


async def test_a_refund_of_nothing_is_not_found(billing: Billing) -> None:
    nothing = str(uuid4())
    decision = {"outcome": "failed", "reason": "test"}

    refund = await billing.post("/api/v1/refunds", {"paymentId": nothing, "reason": "test"})

    refused(refund, 404, "not-found")
    refused(await billing.api.get(f"/api/v1/refunds/{nothing}"), 404, "not-found")
    resolve = await billing.post(f"/api/v1/refunds/{nothing}/resolve", decision)
    refused(resolve, 404, "not-found")


async def test_an_operator_ends_a_refund_in_review(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """The id may be written in capitals: it is the same refund."""
    refund_id = await refund_in_review(billing, settings, temporal_client)
    in_review = await billing.get(f"/api/v1/refunds/{refund_id}")
    more = await billing.post(
        "/api/v1/refunds", {"paymentId": in_review["paymentId"], "reason": "again"}
    )
    refused(more, 422, "not-refundable")

    decision = {"outcome": "refunded", "reason": "the PG's support says so"}
    key = uuid4().hex
    path = f"/api/v1/refunds/{refund_id.upper()}/resolve"
    ended = await billing.post(path, decision, key)
    again = await billing.post(path, decision, key)

    assert (ended.status_code, ended.json()["status"]) == (200, "COMPLETED")
    assert (again.status_code, again.content) == (200, ended.content)
    late = await billing.post(f"/api/v1/refunds/{refund_id}/resolve", decision)
    refused(late, 409, "already-decided")
    paid = await billing.get(f"/api/v1/payments/{in_review['paymentId']}")
    assert paid["refundedAmount"] == in_review["amount"]
