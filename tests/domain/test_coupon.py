"""Coupons: what they take off, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.coupon import WHOLE, Coupon, CouponKind, discount
from domain.errors import CouponNotApplicable

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TEN_PERCENT = Coupon(
    "TEN", CouponKind.PERCENTAGE, 1000, {}, {"KRW": 500}, NOW - DAY, NOW + DAY, None, None, None
)
FIXED = replace(TEN_PERCENT, kind=CouponKind.FIXED, basis_points=0, amounts={"KRW": 1000})


@given(amount=st.integers(500, 10**12), basis_points=st.integers(1, WHOLE))
def test_a_percentage_never_takes_more_than_the_order(amount: int, basis_points: int) -> None:
    off = discount(replace(TEN_PERCENT, basis_points=basis_points), "KRW", amount, NOW)

    assert 0 <= off <= amount
    assert off * WHOLE <= amount * basis_points < (off + 1) * WHOLE


@given(amount=st.integers(500, 10**12), fixed=st.integers(1, 10**12))
def test_a_fixed_amount_never_takes_more_than_the_order(amount: int, fixed: int) -> None:
    assert discount(replace(FIXED, amounts={"KRW": fixed}), "KRW", amount, NOW) == min(
        amount, fixed
    )


@pytest.mark.parametrize(
    ("coupon", "currency", "amount", "when"),
    [
        (TEN_PERCENT, "KRW", 499, NOW),
        (FIXED, "USD", 5000, NOW),
        (TEN_PERCENT, "KRW", 5000, NOW + DAY),
        (TEN_PERCENT, "KRW", 5000, NOW - DAY - timedelta(microseconds=1)),
    ],
)
def test_it_does_not_apply(coupon: Coupon, currency: str, amount: int, when: datetime) -> None:
    with pytest.raises(CouponNotApplicable):
        discount(coupon, currency, amount, when)


def test_its_first_moment_counts() -> None:
    assert discount(TEN_PERCENT, "KRW", 505, NOW - DAY) == 50
