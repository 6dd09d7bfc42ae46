"""An order: what a customer owes for goods. Its totals are fixed when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.errors import InvalidRequest
from domain.event import JSON
from domain.money import MAX_MINOR_UNITS, check_currency


class OrderStatus(StrEnum):
    CREATED = "CREATED"
    PAYING = "PAYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    """The last payment failed or was cancelled; it may be paid again with a new key."""
    NEEDS_REVIEW = "NEEDS_REVIEW"


PAYABLE = frozenset({OrderStatus.CREATED, OrderStatus.FAILED})


@dataclass(frozen=True)
class OrderLine:
    """`unit_price` in minor units of the order's currency."""

    sku: str
    quantity: int
    unit_price: int

    @property
    def amount(self) -> int:
        return self.quantity * self.unit_price

    def to_json(self) -> dict[str, JSON]:
        """As it stands in its order and in events."""
        return {"sku": self.sku, "quantity": self.quantity, "unitPrice": self.unit_price}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "OrderLine":
        """What `to_json` has made."""
        return cls(stored["sku"], stored["quantity"], stored["unitPrice"])


@dataclass(frozen=True)
class Order:
    """An order as it stands. `amount` is the sum of the lines; `discount` and `points` reduce what
    a payment has to collect in money. `coupon_applied_by` is the payment that applies the
    coupon."""

    id: str
    customer_id: str
    currency: str
    lines: tuple[OrderLine, ...]
    amount: int
    coupon_code: str | None
    discount: int
    points: int
    coupon_applied_by: str | None
    status: OrderStatus
    review_reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which orders somebody looks for; what is None does not matter. `until` is not included."""

    customer_id: str | None = None
    status: OrderStatus | None = None
    since: datetime | None = None
    until: datetime | None = None


def total(currency: str, lines: tuple[OrderLine, ...]) -> int:
    """What the lines add up to; raises `InvalidRequest` above the bound."""
    check_currency(currency)
    amount = sum(line.amount for line in lines)
    if amount > MAX_MINOR_UNITS:
        raise InvalidRequest(
            f"The order adds up to {amount:,} minor units; at most {MAX_MINOR_UNITS:,} can be paid."
        )
    return amount
