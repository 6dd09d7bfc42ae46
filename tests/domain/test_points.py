"""Points: earned by money, and taken back in proportion to what is refunded of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import points
from domain.errors import PointsNotAccepted


@given(money=st.integers(0, 10**12))
def test_one_percent_is_earned_rounded_down(money: int) -> None:
    assert points.earned("KRW", money) == money // 100
    assert points.earned("USD", money) == 0


@given(parts=st.lists(st.integers(1, 10**9), min_size=1, max_size=20), rest=st.integers(0, 10**9))
def test_partial_refunds_take_back_what_one_refund_would(parts: list[int], rest: int) -> None:
    money = sum(parts) + rest
    earned = points.earned("KRW", money)

    refunded = taken_back = 0
    for part in parts:
        refunded += part
        due = points.to_take_back(earned, money, refunded, taken_back)
        assert due >= 0
        taken_back += due
        assert taken_back <= earned

    assert taken_back == points.to_take_back(earned, money, sum(parts), 0)
    assert rest or taken_back == earned


def test_an_order_paid_without_money_takes_nothing_back() -> None:
    assert points.to_take_back(0, 0, 0, 0) == 0


@pytest.mark.parametrize(("wanted", "currency", "owed"), [(1, "USD", 100), (101, "KRW", 100)])
def test_points_that_cannot_pay_are_refused(wanted: int, currency: str, owed: int) -> None:
    with pytest.raises(PointsNotAccepted):
        points.check(wanted, currency, owed)


def test_points_may_pay_all_that_is_owed() -> None:
    points.check(100, "KRW", 100)
