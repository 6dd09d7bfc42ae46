"""The lines of an invoice, and that they follow from its snapshot alone."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import AmountOutOfRange
from domain.money import MAX_MINOR_UNITS
from domain.period import Period
from domain.pricing import Charge, ChargeModel, Plan, Tier, price
from domain.pricing_snapshot import (
    LineKind,
    MeteredUsage,
    Month,
    PricedInvoice,
    PricedLine,
    PricingSnapshot,
    price_invoice,
)

D = Decimal
APRIL, MAY, JUNE = Period(2026, 4), Period(2026, 5), Period(2026, 6)
CALLS = Charge("API_CALL", ChargeModel.PER_UNIT, free_units=D(10_000), unit_price=D(1))
STORAGE = Charge(
    "STORAGE_GB", ChargeModel.GRADUATED, tiers=(Tier(D(10), D("2.5")), Tier(None, D("1.25")))
)
SEATS = Charge("SEAT", ChargeModel.PACKAGE, package_size=D(5), package_price=1_000)
PLAN = Plan("standard", 1, "KRW", (CALLS, STORAGE, SEATS))
CASES: list[Any] = [
    # fee, minimum, usage → fee line, top-up line
    (0, 0, 0, None, None),
    (500, 0, 300, 500, None),
    (0, 1_000, 800, None, 200),
    (0, 1_000, 1_000, None, None),
    (0, 1_000, 1_300, None, None),
    (500, 1_000, 300, 500, 200),
    (500, 1_000, 0, 500, 500),
    (1_000, 1_000, 0, 1_000, None),
]
"""800 and 1,300 against 1,000 are Lago's: getlago.com/docs/guide/lago-cloud/contract-billing."""


def used(resource_type: str, quantity: str, before: str = "0", charged: int = 0) -> MeteredUsage:
    return MeteredUsage(resource_type, D(quantity), D(before), charged)


def told(invoice: PricedInvoice) -> list[tuple[str, str | None, str, int]]:
    return [
        (line.kind.value, line.resource_type, str(line.period), line.amount)
        for line in invoice.lines
    ]


def test_the_lines_of_a_month_in_order() -> None:
    plan = replace(PLAN, flat_fee=5_000, minimum=20_000)
    usage = (used("STORAGE_GB", "12"), used("SEAT", "6"), used("API_CALL", "12340"))
    late = Month(APRIL, PLAN, (used("API_CALL", "5", before="10000"),))

    invoice = price_invoice(PricingSnapshot(Month(MAY, plan, usage), (late,)))

    assert told(invoice) == [
        ("USAGE", "API_CALL", "2026-05", 2_340),
        ("USAGE", "SEAT", "2026-05", 2_000),
        ("USAGE", "STORAGE_GB", "2026-05", 28),
        ("LATE_USAGE", "API_CALL", "2026-04", 5),
        ("FLAT_FEE", None, "2026-05", 5_000),
        ("MINIMUM", None, "2026-05", 10_632),
    ]
    assert invoice.total == 20_005
    assert invoice.unpriced == ()


@pytest.mark.parametrize(("fee", "minimum", "usage", "fee_line", "top_up"), CASES)
def test_fee_and_usage_count_towards_the_minimum(
    fee: int, minimum: int, usage: int, fee_line: int | None, top_up: int | None
) -> None:
    plan = replace(PLAN, flat_fee=fee, minimum=minimum)
    month = Month(MAY, plan, (used("API_CALL", str(10_000 + usage)),))

    invoice = price_invoice(PricingSnapshot(month))

    amounts = {line.kind: line.amount for line in invoice.lines}
    assert amounts.get(LineKind.FLAT_FEE) == fee_line
    assert amounts.get(LineKind.MINIMUM) == top_up
    assert invoice.total == max(minimum, fee + usage)


def test_late_usage_of_another_month_does_not_fill_this_minimum() -> None:
    month = Month(MAY, replace(PLAN, minimum=1_000))
    late = Month(APRIL, PLAN, (used("API_CALL", "700", before="10000"),))

    assert told(price_invoice(PricingSnapshot(month, (late,)))) == [
        ("LATE_USAGE", "API_CALL", "2026-04", 700),
        ("MINIMUM", None, "2026-05", 1_000),
    ]


def test_late_usage_is_paid_by_the_minimum_of_its_own_month() -> None:
    plan = replace(PLAN, minimum=1_000)
    late = Month(APRIL, plan, (used("API_CALL", "700", "10400", 400),), topped_up=600)

    invoice = price_invoice(PricingSnapshot(Month(MAY, PLAN), (late,)))

    (line,) = invoice.lines
    assert line.amount == 100
    assert [(step.label, step.amount) for step in line.steps] == [
        ("free", D(0)),
        ("per unit", D(1_100)),
        ("billed before", D(-400)),
        ("paid by the minimum", D(-600)),
    ]


def test_what_the_plan_does_not_name_is_told_and_not_given_away() -> None:
    late = Month(APRIL, PLAN, (used("GPU", "1"),))
    month = Month(MAY, PLAN, (used("API_CALL", "1"), used("EGRESS", "0.5"), used("IDLE", "0")))

    invoice = price_invoice(PricingSnapshot(month, (late,)))

    assert told(invoice) == [("USAGE", "API_CALL", "2026-05", 0)]
    assert invoice.unpriced == (
        "EGRESS of 2026-05 in standard 1 (KRW)",
        "GPU of 2026-04 in standard 1 (KRW)",
    )


def test_currencies_are_never_added() -> None:
    late = Month(APRIL, replace(PLAN, currency="USD"), (used("API_CALL", "20000"),))

    invoice = price_invoice(PricingSnapshot(Month(MAY, PLAN), (late,)))

    assert invoice == PricedInvoice((), 0, ("API_CALL of 2026-04 in standard 1 (USD)",))


def test_a_total_has_a_bound() -> None:
    dear = Charge("R", ChargeModel.PER_UNIT, unit_price=D(MAX_MINOR_UNITS))
    plan = Plan("p", 1, "KRW", (dear,))

    most = price_invoice(PricingSnapshot(Month(MAY, plan, (used("R", "1"),))))

    assert most.total == MAX_MINOR_UNITS
    for month in (
        Month(MAY, plan, (used("R", "999999999999999999999999.999999"),)),
        Month(MAY, replace(plan, flat_fee=1), (used("R", "1"),)),
    ):
        with pytest.raises(AmountOutOfRange):
            price_invoice(PricingSnapshot(month))


def test_a_resource_or_a_month_cannot_be_billed_twice() -> None:
    with pytest.raises(ValueError, match="a resource is named twice"):
        Month(MAY, PLAN, (used("API_CALL", "1"), used("API_CALL", "2")))
    with pytest.raises(ValueError, match="a month is billed twice"):
        PricingSnapshot(Month(MAY, PLAN), (Month(MAY, PLAN),))


RESOURCES = ("API_CALL", "STORAGE_GB", "SEAT")
BATCH = st.dictionaries(
    st.sampled_from(RESOURCES), st.decimals("0.000001", 30_000, places=6), max_size=3
)


def billed_in(batches: list[dict[str, Decimal]], plan: Plan) -> list[PricedInvoice]:
    """Invoices of one month: the first in time, the others for what came late."""
    lines: list[PricedLine] = []
    invoices = []
    for number, batch in enumerate(batches):
        usage = tuple(
            MeteredUsage(
                resource,
                batch.get(resource, D(0)),
                sum((line.quantity for line in lines if line.resource_type == resource), D(0)),
                sum(line.amount for line in lines if line.resource_type == resource),
            )
            for resource in RESOURCES
        )
        topped_up = sum(line.amount for line in lines if line.kind is LineKind.MINIMUM)
        month = Month(MAY, plan, usage, topped_up)
        later = PricingSnapshot(Month(Period(2027, number + 1), PLAN), (month,))
        invoices.append(price_invoice(later if number else PricingSnapshot(month)))
        lines += invoices[-1].lines
    return invoices


@given(st.lists(BATCH, min_size=1, max_size=5), st.integers(0, 5_000), st.integers(0, 50_000))
def test_a_month_costs_the_same_however_late_its_usage_comes(
    batches: list[dict[str, Decimal]], fee: int, minimum: int
) -> None:
    plan = replace(PLAN, flat_fee=fee, minimum=minimum)
    costs = sum(
        price(
            charge, sum((batch.get(charge.resource_type, D(0)) for batch in batches), D(0))
        ).amount
        for charge in PLAN.charges
    )

    invoices = billed_in(batches, plan)

    assert sum(invoice.total for invoice in invoices) == max(minimum, fee + costs)
    for line in (line for invoice in invoices for line in invoice.lines):
        assert line.amount == sum(step.amount for step in line.steps) >= 0


@given(BATCH, BATCH, st.integers(0, 5_000), st.integers(0, 50_000))
def test_a_stored_snapshot_makes_the_same_invoice(
    now: dict[str, Decimal], late: dict[str, Decimal], fee: int, minimum: int
) -> None:
    plan = replace(PLAN, flat_fee=fee, minimum=minimum)
    snapshot = PricingSnapshot(
        Month(JUNE, plan, tuple(MeteredUsage(*each) for each in now.items())),
        (Month(MAY, PLAN, tuple(MeteredUsage(*each, D(3), 7) for each in late.items()), 11),),
    )

    stored = json.loads(json.dumps(snapshot.to_json()), parse_float=pytest.fail)

    assert PricingSnapshot.from_json(stored) == snapshot
    assert price_invoice(PricingSnapshot.from_json(stored)) == price_invoice(snapshot)


STORED = """
{"month": {"period": "2026-05", "toppedUp": 0,
  "plan": {"code": "standard", "version": 2, "currency": "USD", "flatFee": 1000, "minimum": 9000,
    "charges": [
      {"resourceType": "API_CALL", "model": "GRADUATED", "freeUnits": "100", "unitPrice": "0",
       "tiers": [{"upTo": "1000", "unitPrice": "0.05"}, {"upTo": null, "unitPrice": "0.0125"}],
       "packageSize": "0", "packagePrice": 0},
      {"resourceType": "SEAT", "model": "VOLUME", "freeUnits": "0", "unitPrice": "0",
       "tiers": [{"upTo": "5", "unitPrice": "700"}, {"upTo": null, "unitPrice": "650"}],
       "packageSize": "0", "packagePrice": 0}]},
  "usage": [{"resourceType": "API_CALL", "quantity": "1101.5", "before": "0", "charged": 0},
            {"resourceType": "SEAT", "quantity": "6", "before": "0", "charged": 0}]},
 "late": [{"period": "2026-04", "toppedUp": 5,
  "plan": {"code": "standard", "version": 1, "currency": "USD", "flatFee": 0, "minimum": 0,
    "charges": [
      {"resourceType": "API_CALL", "model": "PACKAGE", "freeUnits": "0", "unitPrice": "0",
       "tiers": [], "packageSize": "100", "packagePrice": 40}]},
  "usage": [{"resourceType": "API_CALL", "quantity": "1", "before": "200", "charged": 80}]}]}
"""


def test_a_snapshot_of_long_ago_still_makes_its_invoice() -> None:
    """Whoever changes a rule of pricing must not change what was billed: this text stays."""
    invoice = price_invoice(PricingSnapshot.from_json(json.loads(STORED)))

    assert told(invoice) == [
        ("USAGE", "API_CALL", "2026-05", 50),
        ("USAGE", "SEAT", "2026-05", 3_900),
        ("LATE_USAGE", "API_CALL", "2026-04", 35),
        ("FLAT_FEE", None, "2026-05", 1_000),
        ("MINIMUM", None, "2026-05", 4_050),
    ]
    assert invoice.total == 9_035
