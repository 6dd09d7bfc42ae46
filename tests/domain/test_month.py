"""The draft of a month and what is looked at before it leaves, without a database."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approval import ApprovalPolicy
from domain.customer import Customer
from domain.errors import NotFound, SettlementFailed
from domain.invoice import Invoice, InvoiceLine, InvoiceStatus, OpenDraft
from domain.month import (
    Draft,
    DraftedMonth,
    KnownMonth,
    LookedOver,
    draft,
    late_months,
    look_over,
    plan_moments,
    trailing,
    trends,
    undecided,
)
from domain.period import Period
from domain.pricing import Charge, ChargeModel, Plan
from domain.pricing_snapshot import Billed, LineKind, PricedLine, price_invoice, says_nothing
from domain.settlement import SettlementStatus, found, not_issued, not_over
from domain.usage import Aggregate, UsedBefore

D = Decimal
APRIL, MAY, JUNE, JULY = (Period(2026, month) for month in (4, 5, 6, 7))
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ACME = Customer("acme", "Asia/Seoul", prepaid=False, due_days=14, created_at=NOON)
FREE = 1_000
CALLS = Charge("API_CALL", ChargeModel.PER_UNIT, free_units=D(FREE), unit_price=D(1))
PLAN = Plan("standard", 1, "KRW", (CALLS,))
ANYTHING = ApprovalPolicy(thresholds={"KRW": 10**9}, anomaly_factor=5)


def used(period: Period, quantity: int, resource_type: str = "API_CALL") -> Aggregate:
    return Aggregate(resource_type, period, D(quantity), 1, NOON, NOON, "")


def known(period: Period, plan: Plan | None = PLAN, **more: Any) -> KnownMonth:
    return KnownMonth(period, plan, **more)


def drafted(plan: Plan, *claimed: Aggregate, late: tuple[KnownMonth, ...] = ()) -> Draft:
    made = draft(ACME, plan, known(JUNE, plan), late, claimed)
    assert made is not None
    return made


def invoice_of(made: Draft, status: InvoiceStatus = InvoiceStatus.DRAFT, **more: Any) -> Invoice:
    values: dict[str, Any] = {
        "id": "invoice-1",
        "number": None,
        "customer_id": ACME.id,
        "period": str(made.snapshot.month.period),
        "currency": made.currency,
        "total": made.priced.total,
        "status": status,
        "snapshot": made.snapshot.to_json(),
        "checks": (),
        "decisions": (),
        "reason": None,
        "workflow_id": "",
        "run_id": "",
        "retries": 0,
        "next_attempt_at": None,
        "issued_at": None,
        "due_at": None,
        "closed_at": None,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Invoice(**{**values, **more})


def looked_over(made: Draft, policy: ApprovalPolicy = ANYTHING, **more: Any) -> LookedOver:
    lines = tuple(
        InvoiceLine(
            invoice_id="invoice-1",
            position=place,
            **{name: getattr(line, name) for name in PricedLine.__dataclass_fields__},
        )
        for place, line in enumerate(made.priced.lines, start=1)
    )
    month = DraftedMonth(invoice_of(made), lines, made.claimed, rejected=(), before=())
    return look_over(replace(month, **more), policy)


def test_the_prices_of_a_month_are_those_of_its_first_moment_else_of_its_last() -> None:
    begins, last = plan_moments(JUNE, "Asia/Seoul")

    assert begins == datetime(2026, 5, 31, 15, tzinfo=UTC)
    assert Period.containing(last, "Asia/Seoul") == JUNE
    assert (JUNE.ends_at("Asia/Seoul") - last).total_seconds() == pytest.approx(1e-6)


def test_a_month_bills_its_usage_and_what_came_late() -> None:
    late = known(MAY, billed=(Billed(LineKind.USAGE, "API_CALL", "KRW", D(900), 0),))

    made = drafted(PLAN, used(MAY, 300), used(JUNE, 1_500), late=(late,))

    assert [(line.period, line.kind, line.amount) for line in made.priced.lines] == [
        (JUNE, LineKind.USAGE, 500),
        (MAY, LineKind.LATE_USAGE, 200),
    ]
    assert (made.priced.total, made.currency, made.snapshot.time_zone) == (700, "KRW", "Asia/Seoul")


def test_late_usage_costs_what_the_invoice_of_its_month_says() -> None:
    dear = Plan("dear", 1, "KRW", (replace(CALLS, unit_price=D(3), free_units=D(0)),))
    late = known(MAY, plan=PLAN, billed_by=(dear,))

    assert drafted(PLAN, used(MAY, 10), late=(late,)).priced.total == 30


def test_a_late_month_without_a_price_is_refused_by_its_name() -> None:
    with pytest.raises(NotFound, match="acme has no plan with prices for 2026-05"):
        drafted(PLAN, used(MAY, 10), late=(known(MAY, plan=None),))


def test_where_nothing_was_used_and_nothing_is_due_there_is_no_draft() -> None:
    assert draft(ACME, PLAN, known(JUNE), (), ()) is None
    assert draft(ACME, replace(PLAN, flat_fee=500), known(JUNE), (), ()) is not None
    assert draft(ACME, PLAN, known(JUNE), (), (used(JUNE, 1),)) is not None


def test_months_of_a_draft_that_may_yet_be_rejected_are_left_out() -> None:
    waits = InvoiceStatus.AWAITING_APPROVAL
    drafts = [OpenDraft("2026-05", waits, month) for month in (None, "2026-04", "2026-05")]

    assert undecided(JUNE, drafts) == {APRIL, MAY}
    assert undecided(JUNE, []) == set()


@pytest.mark.parametrize("month", [None, "2026-06"])
def test_a_month_in_another_draft_waits_for_its_decision(month: str | None) -> None:
    period = "2026-06" if month is None else "2026-07"
    waits = OpenDraft(period, InvoiceStatus.AWAITING_APPROVAL, month)

    with pytest.raises(SettlementFailed, match="waits for approval"):
        undecided(JUNE, [waits])
    with pytest.raises(RuntimeError, match="is being made"):
        undecided(JUNE, [replace(waits, status=InvoiceStatus.DRAFT)])


def test_a_month_is_compared_with_the_six_before_it() -> None:
    assert trailing(Period(2026, 3)) == [
        Period(2026, 2),
        Period(2026, 1),
        Period(2025, 12),
        Period(2025, 11),
        Period(2025, 10),
        Period(2025, 9),
    ]


def test_what_was_used_last_month_and_is_not_any_more_is_a_trend_too() -> None:
    before = [
        UsedBefore("API_CALL", D(10), "2026-05"),
        UsedBefore("EGRESS", D(20), "2026-05"),
        UsedBefore("STORAGE", D(30), "2026-04"),
    ]
    aggregates = [used(JUNE, 11), used(MAY, 5, "EGRESS"), used(JUNE, 7, "SEAT")]

    told = [
        (each.resource_type, each.quantity, each.mean, each.late)
        for each in trends(JUNE, aggregates, before)
    ]

    assert told == [
        ("API_CALL", D(11), D(10), False),
        ("EGRESS", D(5), D(20), True),
        ("SEAT", D(7), None, False),
        ("EGRESS", D(0), D(20), False),
    ]


def test_an_ordinary_draft_leaves_by_itself() -> None:
    looked = looked_over(drafted(PLAN, used(JUNE, 1_500)))

    assert (looked.status, looked.stopped, looked.asked) == (SettlementStatus.RUNNING, None, None)
    assert all(check.passed for check in looked.checks)


def test_a_draft_without_one_of_its_lines_must_not_leave() -> None:
    asks = ApprovalPolicy(thresholds={"KRW": 0})

    looked = looked_over(drafted(PLAN, used(JUNE, 1_500)), asks, lines=())

    assert looked.status is SettlementStatus.FAILED
    assert "lines-add-up" in (looked.stopped or "")
    assert looked.asked is None


def test_usage_without_a_price_stops_the_draft() -> None:
    looked = looked_over(drafted(PLAN, used(JUNE, 1, "EGRESS")))

    assert "no price for EGRESS of 2026-06" in (looked.stopped or "")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"rejected": ("2026-05",)}, "not-rejected-before (usage of 2026-05"),
        ({"before": (UsedBefore("API_CALL", D(10), "2026-05"),)}, "usual (1500 of API_CALL"),
        ({"before": (UsedBefore("EGRESS", D(9), "2026-05"),)}, "usual (0 of EGRESS"),
    ],
)
def test_what_a_person_must_look_at(more: dict[str, Any], why: str) -> None:
    looked = looked_over(drafted(PLAN, used(JUNE, 1_500)), **more)

    assert looked.status is SettlementStatus.AWAITING_APPROVAL
    assert (looked.asked or "").startswith(why)


def test_a_month_that_lasts_says_until_when() -> None:
    drafted_ = not_over(JUNE, JUNE.ends_at("UTC"))

    assert (drafted_.status, drafted_.not_before) == (
        SettlementStatus.NOT_OVER,
        JULY.starts_at("UTC"),
    )
    assert drafted_.reason == "2026-06 lasts until 2026-07-01T00:00:00+00:00"


def test_what_waits_for_a_person_is_found_waiting_since_then() -> None:
    made = drafted(PLAN, used(JUNE, 1_500))

    waits = found(invoice_of(made, InvoiceStatus.AWAITING_APPROVAL, reason="above"))
    issued = found(invoice_of(made, InvoiceStatus.ISSUED, number=7))

    assert (waits.status, waits.waiting_since) == (SettlementStatus.AWAITING_APPROVAL, NOON)
    assert (issued.status, issued.waiting_since) == (SettlementStatus.SETTLED, None)


def test_a_draft_is_issued_unless_it_says_nothing_or_was_rejected() -> None:
    paid, free = drafted(PLAN, used(JUNE, 1_500)), drafted(PLAN, used(JUNE, 10))

    assert not_issued(invoice_of(paid)) is None
    assert not_issued(invoice_of(free)) is SettlementStatus.SKIPPED
    assert not_issued(invoice_of(free, number=7)) is None
    assert not_issued(invoice_of(free, InvoiceStatus.CANCELLED)) is None
    assert not_issued(invoice_of(paid, InvoiceStatus.REJECTED)) is SettlementStatus.REJECTED


@dataclass
class Kept:
    """An invoice of the books below; one that is `skipped` is made anew."""

    period: Period
    made: Draft
    skipped: bool
    stands: bool = True

    def billed(self, period: Period) -> Iterator[Billed]:
        for line in self.made.priced.lines:
            if line.period == period:
                yield Billed(
                    line.kind, line.resource_type, self.made.currency, line.quantity, line.amount
                )


@dataclass
class Books:
    """One customer's usage and invoices, as the database would have them."""

    plan: Plan
    free: dict[Period, int] = field(default_factory=lambda: defaultdict(int))
    kept: list[Kept] = field(default_factory=list)

    def settle(self, period: Period) -> None:
        current = next((each for each in self.standing if each.period == period), None)
        if current is not None:
            if not current.skipped:
                return
            self.cancel(current)
        claimed = [used(each, units) for each, units in self.free.items() if each <= period]
        late = [self.known(each) for each in late_months(period, claimed)]
        made = draft(ACME, self.plan, self.known(period), late, claimed)
        if made is not None:
            for each in made.claimed:
                del self.free[each.period]
            self.kept.append(Kept(period, made, says_nothing(made.priced.lines)))

    def cancel(self, one: Kept) -> None:
        one.stands = False
        for each in one.made.claimed:
            self.free[each.period] += int(each.quantity)

    @property
    def standing(self) -> list[Kept]:
        return [each for each in self.kept if each.stands]

    def known(self, period: Period) -> KnownMonth:
        plans = [each.made.snapshot.plan_of(period) for each in self.standing]
        return KnownMonth(
            period,
            self.plan,
            tuple(line for each in self.standing for line in each.billed(period)),
            tuple(plan for plan in plans if plan is not None),
        )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 600)),
        st.tuples(st.just("settle"), st.sampled_from([MAY, JUNE, JULY])),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=14,
)


@given(STEPS, st.sampled_from([0, 1_500]))
def test_a_month_comes_to_the_same_however_its_usage_is_split_and_what_is_cancelled(
    steps: list[tuple[str, Any]], minimum: int
) -> None:
    books, in_all = Books(replace(PLAN, minimum=minimum)), 0
    for what, value in steps:
        if what == "use":
            books.free[MAY] += value
            in_all += value
        elif what == "settle":
            books.settle(value)
        elif issued := [each for each in books.standing if not each.skipped]:
            books.cancel(issued[value % len(issued)])
    for period in (MAY, Period(2026, 8)):
        books.settle(period)

    assert not any(books.free.values())
    billed = sum(line.amount for line in books.known(MAY).billed)
    assert billed == max(minimum, in_all - FREE, 0)
    for each in books.standing:
        assert price_invoice(each.made.snapshot) == each.made.priced
