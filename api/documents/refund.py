"""Refunds as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.documents.page import Page
from api.fields import Currency, CustomerId, Document, Id
from domain.refund import RefundStatus


class Refund(Document):
    """A refund: card first up to its capture, then wallet, points last."""

    id: Id
    payment_id: Id
    customer_id: CustomerId
    currency: Currency
    amount: int
    card_amount: int
    wallet_amount: int
    points_amount: int
    reason: str
    status: RefundStatus
    failure_code: Annotated[str | None, Field(examples=["declined"])]
    failure_message: str | None
    gateway_code: str | None
    gateway_reference: str | None
    review_reason: str | None
    workflow_id: str
    created_at: datetime
    updated_at: datetime


class Refunds(Page[Refund]):
    """A page of refunds, each as it stands now."""
