"""Money: exact, bounded, in currencies that exist."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency

from domain.errors import AmountOutOfRange, InvalidRequest
from domain.money import (
    DECIMALS,
    MAX_BALANCE,
    MAX_MINOR_UNITS,
    Money,
    check_amount,
    format_amount,
)

NOT_CHARGEABLE = {
    *("BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW"),  # units of account and funds
    *("XAG", "XAU", "XPD", "XPT"),  # metals
    *("XAD", "XBA", "XBB", "XBC", "XBD", "XDR", "XSU", "XUA"),  # between central banks
    *("XTS", "XXX"),  # tests, and no currency at all
}
LARGEST_BIGINT = 2**63 - 1


def test_the_currency_table_is_that_of_iso_4217() -> None:
    standard = {currency.code: currency.exponent for currency in Currency}

    assert {code: standard[code] for code in standard.keys() - NOT_CHARGEABLE} == DECIMALS


@pytest.mark.parametrize("currency", ["", "krw", "KRW ", "POINT", "BTC", "XXX", "XAU", "CLF"])
def test_what_nobody_can_be_charged_in_is_refused(currency: str) -> None:
    with pytest.raises(InvalidRequest, match="not an ISO 4217 currency"):
        Money(1, currency)


@pytest.mark.parametrize(
    ("minor_units", "currency", "text"),
    [
        (0, "KRW", "0 KRW"),
        (12_340, "KRW", "12,340 KRW"),
        (-1_000_000, "JPY", "-1,000,000 JPY"),
        (1, "USD", "0.01 USD"),
        (100, "USD", "1.00 USD"),
        (-1_234, "USD", "-12.34 USD"),
        (-5, "EUR", "-0.05 EUR"),
        (1_234_567, "KWD", "1,234.567 KWD"),
        (7, "KWD", "0.007 KWD"),
        (250, "POINT", "250 POINT"),
    ],
)
def test_amounts_are_written_for_people(minor_units: int, currency: str, text: str) -> None:
    assert format_amount(minor_units, currency) == text


@given(st.integers(-MAX_BALANCE, MAX_BALANCE), st.sampled_from(sorted(DECIMALS)))
def test_a_written_amount_is_exact(minor_units: int, currency: str) -> None:
    number, _, unit = format_amount(minor_units, currency).partition(" ")
    written = Decimal(number.replace(",", ""))

    assert unit == currency
    assert written == Decimal(minor_units).scaleb(-DECIMALS[currency])
    assert -written.as_tuple().exponent == DECIMALS[currency]  # type: ignore[operator]


@given(st.integers(1, MAX_MINOR_UNITS), st.sampled_from(sorted(DECIMALS)))
def test_an_amount_within_the_bounds_is_money(minor_units: int, currency: str) -> None:
    assert str(Money(minor_units, currency)) == format_amount(minor_units, currency)


@given(st.integers(max_value=0) | st.integers(min_value=MAX_MINOR_UNITS + 1))
def test_an_amount_outside_the_bounds_is_refused(minor_units: int) -> None:
    with pytest.raises(AmountOutOfRange):
        check_amount(minor_units)


def test_a_million_of_the_largest_amounts_fit_into_a_bigint() -> None:
    assert 1_000_000 * MAX_MINOR_UNITS <= LARGEST_BIGINT
    assert MAX_BALANCE + MAX_MINOR_UNITS <= LARGEST_BIGINT
    assert 9_000 * MAX_BALANCE <= LARGEST_BIGINT
