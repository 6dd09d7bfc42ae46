"""Paying an order over HTTP."""

import asyncio
from uuid import uuid4

from temporalio.client import Client
from uuid_utils.compat import uuid7

from domain.access import SYSTEM
from domain.gateway import GatewayAnswer, GatewayRequest, GatewayStatus, Operation
from runtime.settings import Settings
from store import gateway_attempt, order, payment
from store.database import Database
from tests.api.documents import refused, rows_of
from tests.support.billing import GOOD_CARD, Billing
from tests.support.conditions import eventually
from tests.support.databases import locked, somebody_waits
from tests.support.unfinished import accepted, payment_in_review


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


async def test_a_split_payment_takes_both_parts(billing: Billing) -> None:
    await billing.top_up(5000)

    paid = await billing.pay(await billing.order(3000), "SPLIT", walletAmount=1000)

    assert (paid["status"], paid["walletAmount"], paid["cardAmount"]) == ("COMPLETED", 1000, 2000)
    assert await billing.balance() == (4000, 0)
    assert (await billing.book(paid["id"]))["totals"]["KRW"]["captured"] == 2000


async def test_all_of_a_split_may_come_from_the_wallet(billing: Billing) -> None:
    """Nothing is left for the card, so none is needed and the PG is not asked."""
    await billing.top_up(3000)
    unknown_card = str(uuid4())

    paid = await billing.pay(
        await billing.order(3000), "SPLIT", walletAmount=3000, paymentMethodId=unknown_card
    )

    assert (paid["status"], paid["cardAmount"], paid["attempts"]) == ("COMPLETED", 0, [])
    assert (await billing.book(paid["id"]))["payments"] == []


async def test_the_wallet_part_is_at_most_what_is_payable(billing: Billing) -> None:
    await billing.top_up(5000)
    order_id = await billing.order(3000)
    before = await rows_of(billing.database, billing.customer_id)

    body = {"orderId": order_id, "method": "SPLIT", "walletAmount": 3001}
    refused(await billing.post("/api/v1/payments", body), 422, "wallet-amount-too-large")

    assert await rows_of(billing.database, billing.customer_id) == before
    assert (await billing.get(f"/api/v1/orders/{order_id}"))["status"] == "CREATED"


async def test_a_wallet_part_goes_with_split_only(billing: Billing) -> None:
    order_id = await billing.order()

    for body in ({"method": "CARD", "walletAmount": 1}, {"method": "SPLIT"}):
        answer = await billing.post("/api/v1/payments", {"orderId": order_id, **body})
        refused(answer, 400, "invalid-request")


async def test_a_wallet_with_too_little_fails_the_payment(billing: Billing) -> None:
    await billing.top_up(999)
    order_id = await billing.order(1000)

    paid = await billing.pay(order_id, "WALLET")

    assert (paid["status"], paid["failureCode"]) == ("FAILED", "insufficient-funds")
    assert await billing.balance() == (999, 0)


async def test_money_of_another_currency_does_not_count(billing: Billing) -> None:
    await billing.top_up(1_000_000, "USD")

    paid = await billing.pay(await billing.order(1, currency="KRW"), "WALLET")

    assert (paid["status"], paid["failureCode"]) == ("FAILED", "insufficient-funds")
    assert await billing.balance("USD") == (1_000_000, 0)


async def test_a_failed_order_can_be_paid_again(billing: Billing) -> None:
    await billing.add_card("4000000000009995")
    order_id = await billing.order(1000)
    first = await billing.pay(order_id)
    assert (first["status"], first["gatewayCode"]) == ("FAILED", "insufficient_funds")

    await billing.add_card(GOOD_CARD)
    second = await billing.pay(order_id)

    assert second["status"] == "COMPLETED"
    assert (await billing.get(f"/api/v1/orders/{order_id}"))["status"] == "COMPLETED"
    attempts = await billing.api.get("/api/v1/payments", params={"orderId": order_id})
    assert [each["id"] for each in attempts.json()["items"]] == [second["id"], first["id"]]


async def test_a_paid_order_is_not_paid_again(billing: Billing) -> None:
    order_id = await billing.order()
    paid = await billing.pay(order_id)
    refund = {"paymentId": paid["id"], "reason": "all of it"}
    assert (await billing.post("/api/v1/refunds", refund)).json()["status"] == "COMPLETED"

    again = await billing.post("/api/v1/payments", {"orderId": order_id, "method": "CARD"})

    refused(again, 409, "order-not-payable")


async def test_an_order_that_is_being_paid_is_not_paid_again(
    billing: Billing, settings: Settings
) -> None:
    body = {"orderId": await billing.order(), "method": "CARD"}
    await accepted(billing, settings, "/api/v1/payments", body)

    refused(await billing.post("/api/v1/payments", body), 409, "order-not-payable")


async def test_a_card_that_is_not_the_customers_is_missing(billing: Billing) -> None:
    other = await Billing.for_new_customer(billing.api, billing.simulator, billing.database)
    body = {"orderId": await billing.order(), "method": "CARD"}

    for card in (str(uuid4()), await other.add_card(GOOD_CARD)):
        answer = await billing.post("/api/v1/payments", {**body, "paymentMethodId": card})
        refused(answer, 422, "payment-method-missing")


async def test_without_any_card_a_wallet_can_still_pay(billing: Billing) -> None:
    poor = Billing(billing.api, billing.simulator, billing.database, f"c-{uuid4().hex}")
    await poor.api.put(f"/api/v1/customers/{poor.customer_id}")
    order_id = await poor.order(1000)
    await poor.top_up(1000)

    by_card = await poor.post("/api/v1/payments", {"orderId": order_id, "method": "CARD"})

    refused(by_card, 422, "payment-method-missing")
    assert (await poor.pay(order_id, "WALLET"))["status"] == "COMPLETED"


async def test_a_payable_of_zero_is_paid_without_asking_anybody(
    billing: Billing, database: Database
) -> None:
    billing.leaves_residue()
    order_id = str(uuid7())
    async with database.begin(SYSTEM) as tx:
        await order.create(tx, order_id, billing.customer_id, "KRW", (), 0)

    split = {"orderId": order_id, "method": "SPLIT", "walletAmount": 1}
    refused(await billing.post("/api/v1/payments", split), 422, "wallet-amount-too-large")
    paid = await billing.pay(order_id)

    assert (paid["status"], paid["amount"], paid["attempts"]) == ("COMPLETED", 0, [])
    assert (await billing.book(paid["id"]))["payments"] == []


async def test_currencies_keep_their_minor_units(billing: Billing) -> None:
    """₩1, $0.01 and 0.001 د.ك are all 1 to us and to the PG."""
    for currency in ("KRW", "USD", "KWD"):
        paid = await billing.pay(await billing.order(1, currency=currency))
        assert (paid["status"], paid["currency"], paid["amount"]) == ("COMPLETED", currency, 1)
        book = await billing.book(paid["id"])
        assert book["totals"] == {currency: {"captured": 1, "refunded": 0}}


async def test_a_payment_tells_how_it_was_pursued(billing: Billing) -> None:
    await billing.add_card("4000000000014003")

    paid = await billing.pay(await billing.order(1000))

    async def completed() -> bool:
        seen = await billing.get(f"/api/v1/payments/{paid['id']}")
        return bool(seen["status"] == "COMPLETED")

    await eventually(completed)
    seen = await billing.get(f"/api/v1/payments/{paid['id']}")
    [attempt] = seen["attempts"]
    [charge] = (await billing.book(paid["id"]))["payments"]
    assert seen["workflowId"] == f"payment/{paid['id']}"
    assert (attempt["operation"], attempt["outcome"]) == ("charge", "CAPTURED")
    assert attempt["gatewayReference"] == seen["gatewayReference"] == charge["id"]
    assert attempt["openedAt"] <= attempt["closedAt"]


async def test_a_payment_and_its_attempts_are_shown_as_of_one_moment(
    billing: Billing, settings: Settings
) -> None:
    """Here they end together between the two readings."""
    billing.leaves_residue()
    body = {"orderId": await billing.order(1000), "method": "CARD"}
    pending = (await accepted(billing, settings, "/api/v1/payments", body)).json()
    path = f"/api/v1/payments/{pending['id']}"
    request = GatewayRequest(
        Operation.CHARGE, "simulator", pending["id"], pending["id"], 1000, "KRW", "bk_1"
    )
    async with billing.database.begin(SYSTEM) as tx:
        await gateway_attempt.open_(tx, request, "run")

    async with locked(settings.database_owner_url, "gateway_attempts") as tx:
        asked = asyncio.create_task(billing.get(path))
        await somebody_waits(tx, "gateway_attempts")
        await payment.complete(tx, pending["id"], "pg_1", 0)
        captured = GatewayAnswer(GatewayStatus.CAPTURED, "pg_1")
        await gateway_attempt.close(tx, pending["id"], Operation.CHARGE, captured)

    seen = await asked
    [attempt] = seen["attempts"]
    assert (seen["status"], attempt["outcome"]) == ("PENDING", None)
    ended = await billing.get(path)
    assert (ended["status"], ended["attempts"][0]["outcome"]) == ("COMPLETED", "CAPTURED")


async def test_a_card_that_was_never_asked_has_no_open_attempt(billing: Billing) -> None:
    """Nothing was left in stock: the charge is written down before, and not sent after all."""
    sku = await billing.put_stock(1)
    order = await billing.order_of(sku, 1000)
    await billing.put_stock(0, sku)

    paid = await billing.pay(order["id"])

    assert (paid["status"], paid["failureCode"]) == ("FAILED", "out-of-stock")
    [attempt] = paid["attempts"]
    assert (attempt["operation"], attempt["outcome"]) == ("charge", "NOT_SENT")
    assert attempt["closedAt"] is not None
    assert (await billing.book(paid["id"]))["payments"] == []


async def test_a_payment_of_nothing_is_not_found(billing: Billing) -> None:
    nothing = str(uuid4())
    path = f"/api/v1/payments/{nothing}"
    decision = {"outcome": "failed", "reason": "test"}

    pay = await billing.post("/api/v1/payments", {"orderId": nothing, "method": "CARD"})

    refused(pay, 404, "not-found")
    refused(await billing.api.get(path), 404, "not-found")
    refused(await billing.post(f"{path}/cancel", {}), 404, "not-found")
    refused(await billing.post(f"{path}/resolve", decision), 404, "not-found")


async def test_an_order_without_a_payment_has_an_empty_list(billing: Billing) -> None:
    answer = await billing.api.get(f"/api/v1/payments?orderId={await billing.order()}")

    assert answer.status_code == 200
    assert answer.json() == {"items": [], "nextCursor": None, "hasMore": False}


async def test_a_payment_that_has_ended_is_not_cancelled(billing: Billing) -> None:
    paid = await billing.pay(await billing.order())

    refused(await billing.post(f"/api/v1/payments/{paid['id']}/cancel", {}), 409, "already-final")


async def test_a_cancelled_payment_leaves_nothing_behind(
    billing: Billing, settings: Settings
) -> None:
    """Cancelled before its workflow was ever started: the hold is not made, the order is free."""
    await billing.top_up(1000)
    order_id = await billing.order(3000)
    body = {"orderId": order_id, "method": "SPLIT", "walletAmount": 1000}
    pending = await accepted(billing, settings, "/api/v1/payments", body)

    ended = await billing.post(f"{pending.headers['Location']}/cancel", {})

    assert (ended.status_code, ended.json()["status"]) in ((200, "CANCELLED"), (200, "COMPLETED"))
    captured = (await billing.book(ended.json()["id"]))["totals"].get("KRW", {}).get("captured", 0)
    if ended.json()["status"] == "CANCELLED":
        assert (captured, await billing.balance()) == (0, (1000, 0))
        assert (await billing.pay(order_id))["status"] == "COMPLETED"
    else:
        assert (captured, await billing.balance()) == (2000, (0, 0))


async def test_an_operator_ends_a_payment_in_review(
    billing: Billing, settings: Settings, temporal_client: Client
) -> None:
    """The id may be written in capitals: it is the same payment."""
    payment_id = await payment_in_review(billing, settings, temporal_client)
    in_review = await billing.get(f"/api/v1/payments/{payment_id}")
    assert in_review["reviewReason"]
    waiting = await billing.get(f"/api/v1/orders/{in_review['orderId']}")
    assert waiting["status"] == "NEEDS_REVIEW"
    pay = {"orderId": in_review["orderId"], "method": "CARD"}
    refused(await billing.post("/api/v1/payments", pay), 409, "order-not-payable")

    decision = {"outcome": "failed", "reason": "the PG's support says no"}
    path = f"/api/v1/payments/{payment_id.upper()}/resolve"
    ended = await billing.post(path, decision)

    assert (ended.status_code, ended.json()["status"]) == (200, "FAILED")
    assert ended.json()["failureCode"] == "resolved-failed"
    assert (await billing.get(f"/api/v1/orders/{in_review['orderId']}"))["status"] == "FAILED"
