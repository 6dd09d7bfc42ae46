"""Coupons: a percentage or a fixed amount off an order, within limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import CouponNotApplicable
from domain.money import format_amount

WHOLE = 10_000
"""100 % in basis points."""


class CouponKind(StrEnum):
    PERCENTAGE = "PERCENTAGE"
    FIXED = "FIXED"


class CouponUseState(StrEnum):
    IN_USE = "IN_USE"
    USED = "USED"
    RESTORED = "RESTORED"
    """Given back; one that was never in use is a tombstone, which a late use finds."""


@dataclass(frozen=True)
class Coupon:
    """`basis_points` for a percentage, `amounts` per currency (minor units) for a fixed amount.

    `issue_limit`: first come, first served; it must be claimed before it can be used, and so many
    claims are given out. `customer_limit` bounds the uses (and claims) of one customer,
    `total_limit` the uses of all. `issued` and `used` count what was given out and used, uses in
    progress too.
    """

    code: str
    kind: CouponKind
    basis_points: int
    amounts: Mapping[str, int]
    minimum_order: Mapping[str, int]
    valid_from: datetime
    valid_until: datetime
    customer_limit: int | None
    total_limit: int | None
    issue_limit: int | None
    issued: int = 0
    used: int = 0


@dataclass(frozen=True)
class CouponClaim:
    """One first-come coupon given to a customer."""

    id: str
    code: str
    customer_id: str
    created_at: datetime


def check_window(coupon: Coupon, now: datetime) -> None:
    """Raise `CouponNotApplicable` outside the validity window (its end is exclusive)."""
    if not coupon.valid_from <= now < coupon.valid_until:
        raise CouponNotApplicable(f"Coupon {coupon.code} is not valid now.")


def discount(coupon: Coupon, currency: str, amount: int, now: datetime) -> int:
    """What the coupon takes off an order of `amount`: rounded down, never more than the order.

    Raises `CouponNotApplicable` outside the window, below the minimum order, or for a currency
    that a fixed coupon does not name.
    """
    check_window(coupon, now)
    minimum = coupon.minimum_order.get(currency, 0)
    if amount < minimum:
        least = format_amount(minimum, currency)
        raise CouponNotApplicable(f"Coupon {coupon.code} needs an order of at least {least}.")
    if coupon.kind is CouponKind.PERCENTAGE:
        return amount * coupon.basis_points // WHOLE
    if currency not in coupon.amounts:
        raise CouponNotApplicable(f"Coupon {coupon.code} takes nothing off in {currency}.")
    return min(coupon.amounts[currency], amount)
