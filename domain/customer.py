"""A customer, how it is billed, and its cards (billing keys of a PG, never card numbers)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Customer:
    """`time_zone` says when its months begin and end, `due_days` how long after its issue an
    invoice is due. `prepaid`: invoices are collected from the wallet first, the rest by card."""

    id: str
    time_zone: str
    prepaid: bool
    due_days: int
    created_at: datetime


@dataclass(frozen=True)
class PaymentMethod:
    """A card, as the PG's billing key."""

    id: str
    customer_id: str
    gateway: str
    billing_key: str
    last4: str
    is_default: bool
    created_at: datetime


@dataclass(frozen=True)
class Agreement:
    """How a customer is billed; what is None stays as it is. It has the plan from `plan_from` on,
    or from now."""

    time_zone: str | None = None
    plan_code: str | None = None
    plan_from: datetime | None = None
    prepaid: bool | None = None
    due_days: int | None = None
