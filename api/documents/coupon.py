"""Coupons as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.documents.page import Page
from api.fields import CustomerId, Document, Id
from domain.coupon import CouponKind
from domain.identifier import NAME

CODE = NAME.pattern
CouponCode = Annotated[str, Field(pattern=CODE, examples=["WELCOME-10"])]


class Coupon(Document):
    """A coupon with its counts."""

    code: CouponCode
    kind: CouponKind
    basis_points: int | None
    amounts: dict[str, int] | None
    minimum_order: dict[str, int]
    valid_from: datetime
    valid_until: datetime
    customer_limit: int | None
    total_limit: int | None
    issue_limit: int | None
    issued: int
    used: Annotated[int, Field(description="Uses done and in progress.")]


class Coupons(Page[Coupon]):
    """A page of coupons, as their counts stand now."""


class CouponClaim(Document):
    """One first-come coupon given to a customer."""

    id: Id
    code: CouponCode
    customer_id: CustomerId
    created_at: datetime
