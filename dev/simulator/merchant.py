"""What a merchant calls: /v1."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from dev.simulator import book, calls
from dev.simulator.behaviours import NAME_PATTERN, TEST_CARDS, Operation
from dev.simulator.state import Simulator, simulator_of
from dev.simulator.wire import (
    BillingKeyBody,
    CaptureBody,
    ChargeBody,
    MoneyCall,
    NoAnswer,
    RefundBody,
    Refused,
    VoidBody,
    answer,
    as_json,
    payment_object,
    refund_object,
)


async def simulator_in_service(request: Request) -> Simulator:
    """The simulator a merchant's call is about, unless there is an outage."""
    sim = simulator_of(request)
    if sim.outage == "refuse":
        raise Refused(503, "outage", "The gateway is out of order. Nothing happened.")
    if sim.outage == "hang":
        raise NoAnswer(held=True)
    return sim


async def idempotency_key(
    value: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> str:
    """The header every call that may move money needs: 1 to 255 visible ASCII characters."""
    if not value:
        raise Refused(400, "idempotency-key-required", "The header Idempotency-Key is missing.")
    if not re.fullmatch(r"[\x21-\x7e]{1,255}", value):
        raise Refused(400, "invalid-request", "Idempotency-Key is not 1 to 255 visible characters.")
    return value


Service = Annotated[Simulator, Depends(simulator_in_service)]
Key = Annotated[str, Depends(idempotency_key)]
OrderId = Annotated[str, Path(alias="orderId", pattern=NAME_PATTERN)]
OrderQuery = Annotated[str | None, Query(alias="orderId", pattern=NAME_PATTERN)]
RefundId = Annotated[str, Path(alias="refundId", pattern=NAME_PATTERN)]

v1 = APIRouter(prefix="/v1")


@v1.post("/billing-keys")
async def create_billing_key(sim: Service, body: BillingKeyBody) -> Response:
    number = body.card_number
    if number not in TEST_CARDS:
        raise Refused(422, "unknown-card", "Not a test card; GET /v1/test-cards lists them.")
    key = f"{calls.BILLING_KEY_PREFIX}{number}"
    return answer(201, as_json({"billingKey": key, "last4": number[-4:]}))


@v1.get("/test-cards")
async def list_test_cards(sim: Service) -> Response:
    cards = [
        {
            "cardNumber": card.number,
            "billingKey": f"{calls.BILLING_KEY_PREFIX}{card.number}",
            "meaning": card.meaning,
            "operation": card.operation,
            "behaviour": card.behaviour,
            "seconds": card.script.seconds,
            "declineCode": card.script.decline_code,
        }
        for card in TEST_CARDS.values()
    ]
    return answer(200, as_json({"testCards": cards}))


@v1.post("/charges")
async def charge(sim: Service, key: Key, body: ChargeBody) -> Response:
    if body.billing_key.removeprefix(calls.BILLING_KEY_PREFIX) not in TEST_CARDS:
        raise Refused(422, "unknown-billing-key", "No card has this billingKey.")
    return await calls.money(sim, MoneyCall(Operation.CHARGE, body.order_id, body), key)


@v1.post("/payments/{orderId}/capture")
async def capture(
    sim: Service, key: Key, order_id: OrderId, body: CaptureBody | None = None
) -> Response:
    call = MoneyCall(Operation.CAPTURE, order_id, body or CaptureBody())
    return await calls.money(sim, call, key)


@v1.post("/payments/{orderId}/void")
async def void(sim: Service, key: Key, order_id: OrderId, body: VoidBody | None = None) -> Response:
    return await calls.money(sim, MoneyCall(Operation.VOID, order_id, VoidBody()), key)


@v1.post("/payments/{orderId}/refunds")
async def refund(sim: Service, key: Key, order_id: OrderId, body: RefundBody) -> Response:
    return await calls.money(sim, MoneyCall(Operation.REFUND, order_id, body), key)


@v1.get("/payments/{orderId}")
async def inquire_payment(sim: Service, order_id: OrderId) -> Response:
    def look() -> dict[str, object] | None:
        row = book.find_payment(sim.db, order_id)
        return payment_object(row) if row else None

    return await calls.inquire(sim, order_id, look)


@v1.get("/payments/{orderId}/refunds/{refundId}")
async def inquire_refund(sim: Service, order_id: OrderId, refund_id: RefundId) -> Response:
    def look() -> dict[str, object] | None:
        row = book.find_refund(sim.db, order_id, refund_id)
        return refund_object(row) if row else None

    return await calls.inquire(sim, order_id, look)


@v1.get("/book")
async def read_book(sim: Service, order_id: OrderQuery = None) -> Response:
    payments = [payment_object(row) for row in book.all_payments(sim.db, order_id)]
    refunds = [refund_object(row) for row in book.all_refunds(sim.db, order_id)]
    totals = book.totals(sim.db, order_id)
    return answer(200, as_json({"payments": payments, "refunds": refunds, "totals": totals}))
