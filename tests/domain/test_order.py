"""What an order adds up to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.money import MAX_MINOR_UNITS
from domain.order import PAYABLE, OrderLine, OrderStatus, total

LINES = st.lists(
    st.builds(OrderLine, st.just("SKU-1"), st.integers(1, 10_000), st.integers(0, 10**7)),
    max_size=10,
)


@given(LINES)
def test_a_total_is_the_sum_of_its_lines_whatever_their_order(lines: list[OrderLine]) -> None:
    expected = sum(line.quantity * line.unit_price for line in lines)

    assert total("KRW", tuple(lines)) == expected
    assert total("KRW", tuple(reversed(lines))) == expected


def test_an_order_may_be_as_large_as_one_amount_and_no_larger() -> None:
    largest = OrderLine("SKU-1", 1, MAX_MINOR_UNITS)

    assert total("USD", (largest,)) == MAX_MINOR_UNITS
    with pytest.raises(InvalidRequest, match=r"1,000,000,000,001 minor units"):
        total("USD", (largest, OrderLine("SKU-2", 1, 1)))


def test_factors_that_leave_64_bits_are_refused_and_not_wrapped_around() -> None:
    with pytest.raises(InvalidRequest):
        total("KRW", (OrderLine("SKU-1", 2**33, 2**33),))


def test_an_order_needs_a_currency_that_exists() -> None:
    with pytest.raises(InvalidRequest, match="'WON'"):
        total("WON", (OrderLine("SKU-1", 1, 1000),))


def test_an_order_is_paid_from_its_beginning_or_after_a_failure() -> None:
    assert {OrderStatus.CREATED, OrderStatus.FAILED} == PAYABLE
