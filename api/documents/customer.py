"""Customers and their cards as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictBool

from api.documents.page import Page
from api.fields import CustomerId, Document, Id, PlanCode

TimeZone = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_+/-]{1,64}$",
        description="IANA name of a place, or UTC. Months begin and end by its clock.",
        examples=["Asia/Seoul"],
    ),
]
DueDays = Annotated[
    int, Field(strict=True, ge=0, le=365, description="Days from issue to due date.", examples=[14])
]
Prepaid = Annotated[
    StrictBool, Field(description="Invoices are collected from the wallet first, then by card.")
]


class Customer(Document):
    """A customer and how it is billed."""

    id: CustomerId
    time_zone: TimeZone
    plan_code: Annotated[PlanCode | None, Field(description="The plan that it has now.")]
    prepaid: Prepaid
    due_days: DueDays
    created_at: datetime


class Customers(Page[Customer]):
    """A page of customers."""


class PaymentMethod(Document):
    id: Id
    customer_id: CustomerId
    gateway: str
    last4: str
    is_default: bool
    created_at: datetime
