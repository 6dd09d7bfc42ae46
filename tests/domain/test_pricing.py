"""What usage costs: worked examples, and what holds for every price list."""

import json
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Rejected
from domain.money import MAX_MINOR_UNITS
from domain.pricing import (
    MAX_UNIT_PRICE,
    MAX_UNITS,
    Charge,
    ChargeModel,
    Plan,
    Priced,
    Tier,
    decimal_text,
    price,
    price_more,
)

D = Decimal


def tiers(*rates: tuple[str | None, str]) -> tuple[Tier, ...]:
    return tuple(Tier(None if up_to is None else D(up_to), D(rate)) for up_to, rate in rates)


def per_unit(unit_price: str, free: int = 0) -> Charge:
    return Charge("R", ChargeModel.PER_UNIT, D(free), unit_price=D(unit_price))


def graduated(*rates: tuple[str | None, str], free: int = 0) -> Charge:
    return Charge("R", ChargeModel.GRADUATED, D(free), tiers=tiers(*rates))


def volume(*rates: tuple[str | None, str]) -> Charge:
    return Charge("R", ChargeModel.VOLUME, tiers=tiers(*rates))


def package(size: str, package_price: int, free: int = 0) -> Charge:
    return Charge(
        "R", ChargeModel.PACKAGE, D(free), package_size=D(size), package_price=package_price
    )


FONTS: Any = (("5", "700"), ("10", "650"), (None, "600"))
"""Stripe's example, in cents: docs.stripe.com/subscriptions/pricing-models/tiered-pricing. Its
table gives the volume totals below, and $35.00 for 5 fonts under both models."""
REQUESTS: Any = (("1000", "10"), ("10000", "5"), (None, "1"))
"""Zuplo's example, in cents: zuplo.com/docs/articles/monetization/pricing-models. It gives $600
graduated and $150 by volume for 15,000 units."""

WORKED: list[tuple[Charge, str, int]] = [
    (per_unit("1", free=10_000), "0", 0),
    (per_unit("1", free=10_000), "10000", 0),
    (per_unit("1", free=10_000), "10001", 1),
    (per_unit("1", free=10_000), "12340", 2_340),
    (per_unit("0.0015"), "1000000", 1_500),
    (graduated(*FONTS), "1", 700),
    (graduated(*FONTS), "5", 3_500),
    (graduated(*FONTS), "6", 4_150),
    (graduated(*FONTS), "20", 12_750),
    (graduated(*FONTS), "25", 15_750),
    (graduated(*FONTS, free=5), "10", 3_500),
    (graduated(*REQUESTS), "15000", 60_000),
    (volume(*FONTS), "0", 0),
    (volume(*FONTS), "1", 700),
    (volume(*FONTS), "5", 3_500),
    (volume(*FONTS), "6", 3_900),
    (volume(*FONTS), "20", 12_000),
    (volume(*FONTS), "25", 15_000),
    (volume(*REQUESTS), "15000", 15_000),
    # Lago's, less its fixed fee, in cents: getlago.com/docs/guide/plans/charges/charge-models
    (
        volume(("10000", "0.1"), ("50000", "0.08"), ("100000", "0.06"), (None, "0.04")),
        "65000",
        3900,
    ),
    (package("100", 500), "0", 0),
    (package("100", 500), "1", 500),
    (package("100", 500), "100", 500),
    (package("100", 500), "100.000001", 1_000),
    (package("100", 500), "101", 1_000),
    (package("3", 100), "7", 300),
    (package("100", 500, free=50), "151", 1_000),
]


@pytest.mark.parametrize(("charge", "quantity", "amount"), WORKED)
def test_worked_examples(charge: Charge, quantity: str, amount: int) -> None:
    assert price(charge, D(quantity)).amount == amount


@pytest.mark.parametrize(
    ("exact", "amount"),
    [("0.5", 0), ("1.5", 2), ("2.5", 2), ("2.500001", 3), ("2.499999", 2), ("3.5", 4)],
)
def test_half_a_minor_unit_goes_to_the_even_one(exact: str, amount: int) -> None:
    assert price(per_unit(exact), D(1)).amount == amount


def test_a_line_is_rounded_once_and_not_by_tier() -> None:
    charge = graduated(("1", "0.4"), ("2", "0.4"), (None, "0.4"))

    assert price(charge, D(3)).amount == 1


def test_no_digit_is_lost_whatever_precision_is_set_around() -> None:
    unit_price, quantity = D("999999999999.999999999999"), D("999999999999999999999999.999999")
    with localcontext() as context:
        context.prec = 3
        priced = price(per_unit(str(unit_price)), quantity)
        more = price_more(per_unit(str(unit_price)), quantity, 0)

    assert Fraction(priced.exact) == Fraction(unit_price) * Fraction(quantity)
    assert more.exact == priced.amount


def test_the_steps_spell_the_arithmetic_out() -> None:
    steps = price(graduated(*FONTS, free=2), D(8)).rounded().steps

    assert [(step.label, step.quantity, step.unit_price, step.amount) for step in steps] == [
        ("free", D(2), D(0), D(0)),
        ("tier 1", D(5), D(700), D(3_500)),
        ("tier 2", D(1), D(650), D(650)),
    ]
    assert steps[1].to_json() == {
        "label": "tier 1",
        "quantity": "5",
        "unitPrice": "700",
        "amount": "3500",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0"), ("0E-6", "0"), ("1E+3", "1000"), ("1.500", "1.5"), ("1E-12", "0.000000000001")],
)
def test_equal_decimals_have_equal_texts(value: str, text: str) -> None:
    assert decimal_text(D(value)) == text


QUANTITIES = st.decimals(0, 10**6, places=6, allow_nan=False)
RATES = st.decimals(0, 1000, places=4, allow_nan=False)
FREE = st.integers(0, 1000).map(D)
BOUNDS = st.lists(st.integers(1, 10**5), unique=True, max_size=5).map(sorted)


@st.composite
def tiered(draw: st.DrawFn, model: ChargeModel) -> Charge:
    bounds: list[Decimal | None] = [*map(D, draw(BOUNDS)), None]
    return Charge("R", model, draw(FREE), tiers=tuple(Tier(bound, draw(RATES)) for bound in bounds))


GRADUATED = tiered(ChargeModel.GRADUATED)
PER_UNIT = st.builds(
    lambda free, rate: Charge("R", ChargeModel.PER_UNIT, free, unit_price=rate), FREE, RATES
)
PACKAGE = st.builds(
    lambda free, size, each: Charge(
        "R", ChargeModel.PACKAGE, free, package_size=size, package_price=each
    ),
    FREE,
    st.integers(1, 1000).map(D),
    st.integers(0, 10**6),
)
RISING = st.one_of(GRADUATED, PER_UNIT, PACKAGE)
ANY = st.one_of(RISING, tiered(ChargeModel.VOLUME))


@given(RISING, st.lists(QUANTITIES, min_size=2, max_size=5).map(sorted))
def test_more_units_never_cost_less(charge: Charge, quantities: list[Decimal]) -> None:
    costs = [price(charge, quantity) for quantity in quantities]

    assert all(low.exact <= high.exact for low, high in pairwise(costs))
    assert all(low.amount <= high.amount for low, high in pairwise(costs))


@given(GRADUATED)
def test_graduated_prices_have_no_jump_at_a_bound(charge: Charge) -> None:
    """A millionth of a unit costs a millionth of the dearest rate at most, also across a bound."""
    tick = D("0.000001")
    dearest = max(tier.unit_price for tier in charge.tiers)
    for tier in charge.tiers[:-1]:
        assert tier.up_to is not None
        bound = charge.free_units + tier.up_to
        at, above = price(charge, bound).exact, price(charge, bound + tick).exact
        assert price(charge, bound - tick).exact <= at <= above <= at + tick * dearest


@given(GRADUATED)
def test_a_unit_costs_what_its_tier_says(charge: Charge) -> None:
    below = charge.free_units
    for tier in charge.tiers:
        top = below + 1 if tier.up_to is None else charge.free_units + tier.up_to
        inside = price(charge, top).exact - price(charge, below).exact
        assert inside == (top - below) * tier.unit_price
        below = top


def in_batches(charge: Charge, batches: list[Decimal]) -> list[Priced]:
    lines: list[Priced] = []
    for number in range(len(batches)):
        charged = sum(line.amount for line in lines)
        lines.append(price_more(charge, sum(batches[: number + 1], D(0)), charged))
    return lines


@given(RISING, st.lists(QUANTITIES, min_size=1, max_size=6))
def test_usage_in_any_batches_costs_the_same(charge: Charge, batches: list[Decimal]) -> None:
    lines = in_batches(charge, batches)

    assert sum(line.amount for line in lines) == price(charge, sum(batches, D(0))).amount


@given(ANY, st.lists(QUANTITIES, min_size=1, max_size=6))
def test_a_batch_is_never_paid_for_twice_nor_paid_back(
    charge: Charge, batches: list[Decimal]
) -> None:
    """Where more units make all of them cheaper, the dearest moment on the way is what was paid."""
    lines = in_batches(charge, batches)

    upto = [sum(batches[: end + 1], D(0)) for end in range(len(batches))]
    assert all(line.amount >= 0 for line in lines)
    assert sum(line.amount for line in lines) == max(price(charge, each).amount for each in upto)
    assert all(sum(step.amount for step in line.steps) == line.amount for line in lines)


def test_the_half_units_of_many_batches_are_not_lost() -> None:
    charge = per_unit("0.5")

    assert [line.amount for line in in_batches(charge, [D(1)] * 5)] == [0, 1, 1, 0, 0]
    assert price(charge, D(5)).amount == 2


WRONG: list[dict[str, Any]] = [
    {"model": ChargeModel.GRADUATED},
    {"model": ChargeModel.VOLUME, "tiers": tiers(("5", "1"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers((None, "1"), (None, "2"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers((None, "1"), ("5", "2"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers(("5", "1"), ("5", "1"), (None, "2"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers(("5", "1"), ("4", "1"), (None, "2"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers(("0", "1"), (None, "2"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers((None, "-1"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers(("NaN", "1"), (None, "2"))},
    {"model": ChargeModel.GRADUATED, "tiers": tiers((None, "1")), "unit_price": D(1)},
    {"model": ChargeModel.GRADUATED, "tiers": tiers(*((str(n), "1") for n in range(1, 200)))},
    {"model": ChargeModel.PER_UNIT, "unit_price": D("NaN")},
    {"model": ChargeModel.PER_UNIT, "unit_price": D("sNaN")},
    {"model": ChargeModel.PER_UNIT, "unit_price": D("Infinity")},
    {"model": ChargeModel.PER_UNIT, "unit_price": D("1E+400")},
    {"model": ChargeModel.PER_UNIT, "unit_price": MAX_UNIT_PRICE + 1},
    {"model": ChargeModel.PER_UNIT, "unit_price": D("-0.01")},
    {"model": ChargeModel.PER_UNIT, "unit_price": D("0.0000000000001")},
    {"model": ChargeModel.PER_UNIT, "free_units": MAX_UNITS + 1},
    {"model": ChargeModel.PER_UNIT, "free_units": D(-1)},
    {"model": ChargeModel.PER_UNIT, "free_units": D("0.0000001")},
    {"model": ChargeModel.PER_UNIT, "package_price": 1},
    {"model": ChargeModel.PACKAGE, "package_price": 1},
    {"model": ChargeModel.PACKAGE, "package_size": D(1), "package_price": -1},
    {"model": ChargeModel.PACKAGE, "package_size": D(1), "package_price": 2**63},
    {"model": ChargeModel.PACKAGE, "package_size": D(1), "package_price": 1, "unit_price": D(1)},
]


@pytest.mark.parametrize("terms", WRONG)
def test_a_charge_that_says_nothing_sensible_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as refusal:
        Charge("R", **terms)
    assert refusal.value.status == 400
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "terms",
    [
        {"currency": "XXX"},
        {"currency": "krw"},
        {"flat_fee": -1},
        {"flat_fee": MAX_MINOR_UNITS + 1},
        {"minimum": -1},
        {"minimum": 2**63},
        {"charges": (per_unit("1"), per_unit("2"))},
        {"charges": tuple(Charge(f"R-{n}", ChargeModel.PER_UNIT) for n in range(101))},
    ],
)
def test_a_plan_that_says_nothing_sensible_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as refusal:
        Plan(**{"code": "p", "version": 1, "currency": "KRW", **terms})
    assert refusal.value.status == 400


def test_less_than_nothing_is_a_fault() -> None:
    with pytest.raises(ValueError, match="a quantity of -1"):
        price(per_unit("1"), D(-1))


@given(st.lists(ANY, max_size=4), st.integers(0, MAX_MINOR_UNITS), st.integers(0, MAX_MINOR_UNITS))
def test_a_plan_is_the_same_after_storing(charges: list[Charge], fee: int, minimum: int) -> None:
    named = tuple(replace(each, resource_type=f"R-{n}") for n, each in enumerate(charges))
    plan = Plan("p", 3, "USD", named, fee, minimum)

    stored = json.loads(json.dumps(plan.prices()), parse_float=pytest.fail)

    assert Plan.of_prices("p", 3, stored) == plan
