"""What a charge, capture, void or refund does to the book, and when it may not.

Each function runs inside an open transaction and raises `Refused` when nothing may happen. A
decline is not a refusal: it is the gateway's final word, and is stored like a success.
"""

import sqlite3
from dataclasses import dataclass

from dev.simulator import book
from dev.simulator.behaviours import DECLINE_MESSAGES
from dev.simulator.wire import (
    CaptureBody,
    ChargeBody,
    MoneyCall,
    RefundBody,
    Refused,
    VoidBody,
    payment_object,
    refund_object,
)


@dataclass(frozen=True, slots=True)
class Effect:
    """The answer to the caller, and the webhook's type if the world is to hear of it."""

    status: int
    body: dict[str, object]
    event: str | None


def apply(db: sqlite3.Connection, call: MoneyCall, decline_code: str | None) -> Effect:
    """Do what `call` asks for, or decline it with `decline_code`."""
    match call.body:
        case ChargeBody() as body:
            return _charge(db, body, decline_code)
        case CaptureBody() as body:
            return _capture(db, call.order_id, body, decline_code)
        case VoidBody():
            return _void(db, call.order_id, decline_code)
        case RefundBody() as body:
            return _refund(db, call.order_id, body, decline_code)


def _charge(db: sqlite3.Connection, body: ChargeBody, decline_code: str | None) -> Effect:
    # An order id that was charged before is charged again: only the idempotency key protects.
    status = "DECLINED" if decline_code else "CAPTURED" if body.capture else "AUTHORIZED"
    row = book.add_payment(
        db,
        body.order_id,
        body.billing_key,
        status,
        body.amount,
        body.currency,
        _decline(decline_code),
    )
    return Effect(402 if decline_code else 201, payment_object(row), f"payment.{status.lower()}")


def _capture(
    db: sqlite3.Connection, order_id: str, body: CaptureBody, decline_code: str | None
) -> Effect:
    payment = _authorized(db, order_id)
    amount = payment["amount"] if body.amount is None else body.amount
    if body.currency not in (None, payment["currency"]):
        raise _other_currency(payment)
    if amount > payment["amount"]:
        raise Refused(
            422, "capture-exceeds-authorization", "The amount is above the authorized one."
        )
    if decline_code:
        return _declined_payment(payment, decline_code)
    row = book.set_status(db, payment["id"], "CAPTURED", amount)
    return Effect(200, payment_object(row), "payment.captured")


def _void(db: sqlite3.Connection, order_id: str, decline_code: str | None) -> Effect:
    payment = _authorized(db, order_id)
    if decline_code:
        return _declined_payment(payment, decline_code)
    row = book.set_status(db, payment["id"], "VOIDED", 0)
    return Effect(200, payment_object(row), "payment.voided")


def _refund(
    db: sqlite3.Connection, order_id: str, body: RefundBody, decline_code: str | None
) -> Effect:
    payment = _payment(db, order_id, "CAPTURED")
    if payment["currency"] != body.currency:
        raise _other_currency(payment)
    if payment["refunded_amount"] + body.amount > payment["captured_amount"]:
        left = payment["captured_amount"] - payment["refunded_amount"]
        raise Refused(422, "refund-exceeds-capture", f"Only {left} can still be refunded.")
    row = book.add_refund(db, payment, body.refund_id, body.amount, _decline(decline_code))
    if decline_code:
        return Effect(402, refund_object(row), None)
    return Effect(201, refund_object(row), "payment.refunded")


def _payment(db: sqlite3.Connection, order_id: str, preferred: str) -> sqlite3.Row:
    payment = book.find_payment(db, order_id, preferred)
    if payment is None:
        raise Refused(404, "not-found", "No payment has this orderId.")
    return payment


def _authorized(db: sqlite3.Connection, order_id: str) -> sqlite3.Row:
    payment = _payment(db, order_id, "AUTHORIZED")
    if payment["status"] != "AUTHORIZED":
        raise Refused(422, "invalid-state", f"The payment is {payment['status']}.")
    return payment


def _other_currency(payment: sqlite3.Row) -> Refused:
    return Refused(422, "currency-mismatch", f"The payment is in {payment['currency']}.")


def _declined_payment(payment: sqlite3.Row, decline_code: str) -> Effect:
    # The payment stays as it is; the code in the answer tells why this operation was declined.
    code, message = _decline(decline_code)
    body = payment_object(payment) | {"declineCode": code, "declineMessage": message}
    return Effect(402, body, None)


def _decline(code: str | None) -> tuple[str | None, str | None]:
    if code is None:
        return None, None
    return code, DECLINE_MESSAGES.get(code, "The operation was declined.")
