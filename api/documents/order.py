"""Orders as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.documents.page import Page
from api.fields import Currency, CustomerId, Document, Id
from domain.identifier import NAME
from domain.order import OrderStatus
from domain.saga import StepState

SKU = NAME.pattern
Sku = Annotated[str, Field(pattern=SKU, examples=["SKU-1"])]


class Line(Document):
    sku: Sku
    quantity: int
    unit_price: int


class Step(Document):
    """One step of the payment's saga, as it stands."""

    payment_id: Id
    step: Annotated[str, Field(examples=["wallet.hold"])]
    state: StepState
    at: datetime


class Order(Document):
    """An order with the state of each step of its payments."""

    id: Id
    customer_id: CustomerId
    currency: Currency
    items: list[Line]
    amount: Annotated[int, Field(description="Sum of the lines, in minor units.")]
    coupon_code: str | None
    discount: Annotated[int, Field(description="What the coupon takes off.")]
    points: Annotated[int, Field(description="Paid in points.")]
    payable: Annotated[int, Field(description="What a payment has to collect in money.")]
    status: OrderStatus
    review_reason: str | None
    steps: list[Step]
    created_at: datetime
    updated_at: datetime


class Orders(Page[Order]):
    """A page of orders, each as it stands now."""
