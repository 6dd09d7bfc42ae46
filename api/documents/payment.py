"""Payments as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.documents.page import Page
from api.fields import (
    Currency,
    CustomerId,
    Document,
    Id,
)
from domain.payment import Method, PayableType, PaymentStatus


class Attempt(Document):
    """One request at the PG, pursued until its outcome was known."""

    operation: str
    reference_id: Id
    idempotency_key: str
    amount: int
    outcome: str | None
    gateway_reference: str | None
    code: Annotated[str | None, Field(description="The PG's own code.")]
    message: str | None
    opened_at: datetime
    closed_at: datetime | None


class Payment(Document):
    """A payment. `failureCode` is ours, `gatewayCode` the PG's."""

    id: Id
    payable_type: PayableType
    order_id: Id | None
    invoice_id: Id | None
    customer_id: CustomerId
    currency: Currency
    method: Method
    amount: int
    wallet_amount: int
    card_amount: int
    points_amount: Annotated[int, Field(description="Paid in points, beside `amount`.")]
    status: PaymentStatus
    failure_code: Annotated[str | None, Field(examples=["declined"])]
    failure_message: str | None
    gateway: str | None
    gateway_code: Annotated[str | None, Field(examples=["insufficient_funds"])]
    gateway_reference: str | None
    review_reason: str | None
    refunded_amount: int
    points_earned: int
    workflow_id: str
    attempts: list[Attempt]
    created_at: datetime
    updated_at: datetime


class Payments(Page[Payment]):
    """A page of payments, each as it stands now."""
