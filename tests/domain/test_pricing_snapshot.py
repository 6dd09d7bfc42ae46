"""The lines of an invoice, and that they follow from its snapshot alone."""

import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import AmountOutOfRange
from domain.money import MAX_MINOR_UNITS
from domain.period import Period
from domain.pricing import Charge, ChargeModel, Plan, Tier, price
from domain.pricing_snapshot import (
    Billed,
    LineKind,
    MeteredUsage,
    Month,
    PricedInvoice,
    PricingSnapshot,
    month_to_bill,
    plan_of_late_usage,
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


@dataclass(frozen=True)
class Invoice:
    """One that stands: the usage of May that it has, and what it bills of May."""

    own: bool
    usage: dict[str, Decimal]
    plan: Plan
    priced: PricedInvoice

    @property
    def total(self) -> int:
        return sum(line.amount for line in self.priced.lines if line.period == MAY)


@dataclass
class Books:
    """May of one customer: what is on which invoice, and what is free."""

    plan: Plan
    free: dict[str, Decimal] = field(default_factory=dict)
    standing: list[Invoice] = field(default_factory=list)

    def use(self, usage: dict[str, Decimal]) -> None:
        for name, quantity in usage.items():
            self.free[name] = self.free.get(name, D(0)) + quantity

    def settle(self, in_time: bool) -> None:
        """May itself, unless that is billed already; else a later month, which takes it as late."""
        own = in_time and not any(each.own for each in self.standing)
        billed_by = [each.plan for each in sorted(self.standing, key=lambda each: not each.own)]
        plan = self.plan
        if not own:
            plan = plan_of_late_usage(billed_by, self.plan, self.plan, RESOURCES) or self.plan
        may = month_to_bill(MAY, plan, self.free, self.billed(), billed_by)
        later = Month(JUNE, replace(PLAN, currency=self.plan.currency))
        snapshot = PricingSnapshot(may) if own else PricingSnapshot(later, (may,))
        self.standing.append(Invoice(own, self.free, may.plan, price_invoice(snapshot)))
        self.free = {}

    def cancel(self, place: int) -> None:
        if self.standing:
            self.use(self.standing.pop(place % len(self.standing)).usage)

    def billed(self) -> list[Billed]:
        return [
            Billed(line.kind, line.resource_type, each.plan.currency, line.quantity, line.amount)
            for each in self.standing
            for line in each.priced.lines
            if line.period == MAY
        ]

    @property
    def total(self) -> int:
        return sum(each.total for each in self.standing)

    def costs(self) -> int:
        """All of it in one invoice, in time."""
        used = Books(self.plan)
        for usage in (*(each.usage for each in self.standing), self.free):
            used.use(usage)
        used.settle(in_time=True)
        return used.total


FEES, MINIMA = st.integers(0, 5_000), st.integers(0, 50_000)


@given(st.lists(BATCH, min_size=1, max_size=5), FEES, MINIMA)
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

    books = Books(plan)
    for batch in batches:
        books.use(batch)
        books.settle(in_time=True)

    assert books.total == max(minimum, fee + costs)
    for line in (line for invoice in books.standing for line in invoice.priced.lines):
        assert line.amount == sum(step.amount for step in line.steps) >= 0


EVENTS = st.one_of(
    BATCH,
    st.sampled_from(["in time", "late"]),
    st.integers(0, 5).map(lambda place: ("cancel", place)),
)


@settings(max_examples=500)
@given(st.lists(EVENTS, max_size=14), FEES, MINIMA)
def test_a_month_costs_the_same_whatever_is_cancelled_on_the_way(
    events: list[Any], fee: int, minimum: int
) -> None:
    """Once all of its usage is billed again, and its own invoice stands: fee, free units, tiers and
    minimum count once, in whatever order what was cancelled comes back."""
    books = Books(replace(PLAN, flat_fee=fee, minimum=minimum))
    for event in events:
        if isinstance(event, dict):
            books.use(event)
        elif isinstance(event, tuple):
            books.cancel(event[1])
        else:
            books.settle(in_time=event == "in time")

    books.settle(in_time=True)

    if not any(each.own for each in books.standing):
        books.settle(in_time=True)
    assert books.total == books.costs()
    for line in (line for invoice in books.standing for line in invoice.priced.lines):
        assert line.amount == sum(step.amount for step in line.steps) >= 0


def test_what_a_cancelled_invoice_had_used_up_is_not_used_up_any_more() -> None:
    """Ten units at 10 and ten at 4 when they are twenty: without the first ten the others cost
    what ten cost."""
    calls = Charge("API_CALL", ChargeModel.VOLUME, tiers=(Tier(D(10), D(10)), Tier(None, D(4))))
    books = Books(Plan("volume", 1, "KRW", (calls,)))
    for _ in range(2):
        books.use({"API_CALL": D(10)})
        books.settle(in_time=True)
    assert [each.total for each in books.standing] == [100, 0]

    books.cancel(0)
    books.settle(in_time=True)

    assert [each.total for each in books.standing] == [0, 80]


def test_a_price_that_is_raised_afterwards_raises_nothing_that_was_billed() -> None:
    """Though the month has no invoice of its own: the first that bills it freezes its prices."""
    books = Books(Plan("p", 1, "KRW", (replace(CALLS, free_units=D(0)),)))
    books.use({"API_CALL": D(10)})
    books.settle(in_time=False)
    books.plan = Plan("p", 2, "KRW", (replace(CALLS, free_units=D(0), unit_price=D(7)),))
    books.use({"API_CALL": D(5)})

    books.settle(in_time=False)

    assert [each.total for each in books.standing] == [10, 5]


DOLLARS = replace(PLAN, currency="USD")


def after_ten_free_units(then: Plan, **won: Any) -> Books:
    """Ten free units of ten were billed in KRW; ten more come late, on an invoice in another
    currency."""
    free = replace(CALLS, free_units=D(10))
    books = Books(replace(PLAN, charges=(free, *PLAN.charges[1:]), **won))
    books.use({"API_CALL": D(10), "STORAGE_GB": D(3)})
    books.settle(in_time=True)
    books.plan = then
    return books


def doubts(books: Books) -> tuple[str, ...]:
    return books.standing[-1].priced.doubts


def test_what_is_free_is_free_once_whatever_the_currency() -> None:
    free = replace(CALLS, free_units=D(10))
    books = after_ten_free_units(replace(DOLLARS, charges=(free,)))

    for _ in range(2):
        books.use({"API_CALL": D(10)})
        books.settle(in_time=False)

    assert [each.total for each in books.standing[1:]] == [10, 10]
    assert doubts(books) == ()


def test_what_cannot_be_compared_in_two_currencies_is_a_doubt() -> None:
    books = after_ten_free_units(DOLLARS, minimum=1_000)
    books.use({"API_CALL": D(10), "STORAGE_GB": D(1), "SEAT": D(1)})

    books.settle(in_time=False)

    assert doubts(books) == (
        "late usage of 2026-05, whose minimum was billed in KRW",
        "API_CALL of 2026-05, of which 10 were billed in KRW",
        "STORAGE_GB of 2026-05, of which 3 were billed in KRW",
    )


def test_a_minimum_is_not_compared_with_usage_in_another_currency() -> None:
    books = Books(PLAN)
    books.use({"API_CALL": D(20_000)})
    books.settle(in_time=False)
    books.plan = replace(DOLLARS, minimum=500)

    books.settle(in_time=True)

    assert doubts(books) == ("the minimum of 2026-05, whose usage was billed in two currencies",)


def known(name: str, quantity: Decimal) -> MeteredUsage:
    return MeteredUsage(name, quantity, D(3), 7, D("1.5"))


@given(BATCH, BATCH, FEES, MINIMA)
def test_a_stored_snapshot_makes_the_same_invoice(
    now: dict[str, Decimal], late: dict[str, Decimal], fee: int, minimum: int
) -> None:
    plan = replace(PLAN, flat_fee=fee, minimum=minimum)
    snapshot = PricingSnapshot(
        Month(JUNE, plan, tuple(MeteredUsage(*each) for each in now.items())),
        (Month(MAY, PLAN, tuple(known(*each) for each in late.items()), 11, ("a doubt",)),),
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
