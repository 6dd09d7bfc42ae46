"""What goes over the wire: request bodies, the objects of the answers, refusals."""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from dev.simulator.behaviours import Name, Operation

# Far above any charge, and far below where a sum over a whole book would leave 64 bits.
Amount = Annotated[int, Field(ge=1, le=10**13)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Body(BaseModel):
    """A request body: camelCase, no conversions ("100" is no amount), no unknown fields."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class BillingKeyBody(Body):
    card_number: Annotated[str, Field(pattern=r"^[0-9]{12,19}$")]


class ChargeBody(Body):
    order_id: Name
    amount: Amount
    currency: Currency
    billing_key: Annotated[str, Field(min_length=1, max_length=64)]
    capture: bool = True


class CaptureBody(Body):
    """Without an amount the whole authorization is captured; less than it releases the rest."""

    amount: Amount | None = None
    currency: Currency | None = None


class VoidBody(Body):
    pass


class RefundBody(Body):
    refund_id: Name
    amount: Amount
    currency: Currency


MoneyBody = ChargeBody | CaptureBody | VoidBody | RefundBody

BODY_OF: dict[str, type[MoneyBody]] = {
    Operation.CHARGE: ChargeBody,
    Operation.CAPTURE: CaptureBody,
    Operation.VOID: VoidBody,
    Operation.REFUND: RefundBody,
}


@dataclass(frozen=True, slots=True)
class MoneyCall:
    """One call that may move money: what, for which order, and the request's body."""

    operation: Operation
    order_id: str
    body: MoneyBody

    @property
    def request(self) -> str:
        return self.body.model_dump_json(by_alias=True)

    @property
    def fingerprint(self) -> str:
        """The same for the same request only, whatever the order and spacing of its fields."""
        text = f"{self.operation} {self.order_id} {self.request}"
        return hashlib.sha256(text.encode()).hexdigest()


def stored_call(operation: str, order_id: str, request: str) -> MoneyCall:
    """The call whose `request` was written down."""
    body = BODY_OF[operation].model_validate_json(request)
    return MoneyCall(Operation(operation), order_id, body)


class Refused(Exception):
    """An answer without an effect: an HTTP status and a stable `code` with words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class NoAnswer(Exception):
    """The caller gets no answer: at once (`held=False`), or by waiting until it gives up."""

    def __init__(self, held: bool) -> None:
        super().__init__("held" if held else "lost")
        self.held = held


def answer(status: int, body: str) -> Response:
    return Response(body, status, media_type="application/json")


def as_json(value: object) -> str:
    # ASCII only: a lone surrogate out of a hostile request must not break the answer about it.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def payment_object(row: sqlite3.Row) -> dict[str, object]:
    return {
        "id": row["id"],
        "orderId": row["order_id"],
        "status": row["status"],
        "amount": row["amount"],
        "currency": row["currency"],
        "capturedAmount": row["captured_amount"],
        "refundedAmount": row["refunded_amount"],
        "declineCode": row["decline_code"],
        "declineMessage": row["decline_message"],
        "createdAt": row["created_at"],
    }


def refund_object(row: sqlite3.Row) -> dict[str, object]:
    return {
        "id": row["id"],
        "refundId": row["refund_id"],
        "orderId": row["order_id"],
        "status": row["status"],
        "amount": row["amount"],
        "currency": row["currency"],
        "declineCode": row["decline_code"],
        "declineMessage": row["decline_message"],
    }
