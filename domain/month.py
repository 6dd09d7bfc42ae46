"""A customer's month: the draft of its invoice, and what is looked at before that leaves.

Everything is read before; what follows from it is decided here, once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from domain.approval import (
    ApprovalPolicy,
    QualityCheck,
    Trend,
    blocked,
    needs_approval,
    quality_checks,
)
from domain.customer import Customer
from domain.errors import NotFound, SettlementFailed
from domain.invoice import Invoice, InvoiceStatus, OpenDraft
from domain.period import Period
from domain.pricing import Plan
from domain.pricing_snapshot import (
    Billed,
    Month,
    PricedInvoice,
    PricedLine,
    PricingSnapshot,
    month_to_bill,
    plan_of_late_usage,
    price_invoice,
)
from domain.settlement import SettlementStatus
from domain.usage import Aggregate, UsedBefore

TRAILING_MONTHS = 6


@dataclass(frozen=True)
class KnownMonth:
    """A month as it stands before an invoice bills it: the prices that it has by now, what the
    invoices that stand have billed of it, and by which prices (its own invoice's first)."""

    period: Period
    plan: Plan | None
    billed: tuple[Billed, ...] = ()
    billed_by: tuple[Plan, ...] = ()


@dataclass(frozen=True)
class StandingMonth:
    """A month before it is settled: the invoice that has it, the customer's drafts that may still
    be issued apart from that, what is known of the month, what the customer used in the months
    before it, and when the first event happened that no invoice has."""

    invoice_id: str | None
    drafts: tuple[OpenDraft, ...]
    month: KnownMonth
    before: tuple[UsedBefore, ...]
    free_since: datetime | None


@dataclass(frozen=True)
class SeenMonth:
    """What somebody who waits for a month looks at: the customer's clock, and how the invoice that
    has the month stands, if one has it."""

    time_zone: str
    now: datetime
    invoice_id: str | None
    status: InvoiceStatus | None
    next_attempt_at: datetime | None

    @property
    def is_issued(self) -> bool:
        """Or was issued; a draft may still become anything."""
        return self.status is not None and self.status not in _NOT_ISSUED

    @property
    def is_being_charged(self) -> bool:
        """Issued, and its first charge has not failed yet."""
        return self.status is InvoiceStatus.ISSUED and self.next_attempt_at is None


_NOT_ISSUED = frozenset(
    {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL, InvoiceStatus.SKIPPED}
)


@dataclass(frozen=True)
class Content:
    """What is on an invoice, as it is stored."""

    period: str
    currency: str
    total: int
    snapshot: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """What an invoice will bill."""

    claimed: tuple[Aggregate, ...]
    snapshot: PricingSnapshot
    priced: PricedInvoice

    @property
    def currency(self) -> str:
        return self.snapshot.month.plan.currency

    @property
    def content(self) -> Content:
        period = str(self.snapshot.month.period)
        return Content(period, self.currency, self.priced.total, self.snapshot.to_json())


@dataclass(frozen=True)
class DraftedMonth:
    """A draft beside what was before it. `rejected`: those months of its late usage that a person
    has taken off an invoice. `before`: what the customer used in the trailing months."""

    invoice: Content | Invoice
    lines: tuple[PricedLine, ...]
    aggregates: tuple[Aggregate, ...]
    rejected: tuple[str, ...]
    before: tuple[UsedBefore, ...]


@dataclass(frozen=True)
class LookedOver:
    """`stopped`: why it must not be issued. `asked`: why a person must approve it."""

    checks: tuple[QualityCheck, ...]
    stopped: str | None
    asked: str | None

    @property
    def status(self) -> SettlementStatus:
        if self.stopped:
            return SettlementStatus.FAILED
        return SettlementStatus.AWAITING_APPROVAL if self.asked else SettlementStatus.RUNNING


def plan_moments(period: Period, zone: str) -> tuple[datetime, ...]:
    """The prices of a month are those that hold when it begins, else those when it ends."""
    return period.starts_at(zone), period.ends_at(zone) - timedelta(microseconds=1)


def without_prices(customer_id: str, period: Period) -> NotFound:
    """Why a month cannot be billed that nobody has put a price on."""
    return NotFound(f"{customer_id} has no plan with prices for {period}.")


def undecided(period: Period, drafts: Iterable[OpenDraft]) -> frozenset[Period]:
    """Months that a draft bills which may be rejected yet: what they cost on top is not known. The
    month to be settled must not be one of them."""
    months: set[Period] = set()
    for draft in drafts:
        its_months = {Period.parse(each) for each in (draft.period, draft.month) if each}
        if period in its_months:
            sentence = f"The draft of {draft.period} has usage of {period}"
            if draft.status is InvoiceStatus.AWAITING_APPROVAL:
                raise SettlementFailed(f"{sentence} and waits for approval: decide it first.")
            # Tried again until it is decided.
            raise RuntimeError(f"{sentence} and is being made")
        months |= its_months
    return frozenset(months)


def late_months(period: Period, claimed: Iterable[Aggregate]) -> list[Period]:
    """Those with usage that came late, oldest first."""
    return sorted({each.period for each in claimed} - {period})


def draft(
    customer: Customer,
    plan: Plan,
    own: KnownMonth,
    late: Sequence[KnownMonth],
    claimed: Sequence[Aggregate],
) -> Draft | None:
    """The month at the prices of its plan, with the usage that came late; None when there is
    nothing to bill. Raises `NotFound` when nobody has put a price on a late month, and
    `AmountOutOfRange`."""
    snapshot = PricingSnapshot(
        time_zone=customer.time_zone,
        month=_to_bill(own, plan, claimed),
        late=tuple(_late(customer.id, each, plan, claimed) for each in late),
    )
    priced = price_invoice(snapshot)
    if not claimed and not priced.lines:
        return None
    return Draft(tuple(claimed), snapshot, priced)


def trailing(period: Period) -> list[Period]:
    """The months that a month is compared with, the last one first."""
    months = [period.previous()]
    while len(months) < TRAILING_MONTHS:
        months.append(months[-1].previous())
    return months


def look_over(drafted: DraftedMonth, policy: ApprovalPolicy) -> LookedOver:
    """Whether a draft may be issued, must be approved, or must not leave."""
    invoice = drafted.invoice
    period = Period.parse(invoice.period)
    recomputed = price_invoice(PricingSnapshot.from_json(invoice.snapshot))
    late = [each for each in drafted.aggregates if each.period != period]
    checks = quality_checks(
        [line.amount for line in drafted.lines],
        invoice.total,
        recomputed.total,
        recomputed.unpriced,
        recomputed.doubts,
        late=[f"{each.resource_type} of {each.period}" for each in late],
        rejected=drafted.rejected,
        trends=trends(period, drafted.aggregates, drafted.before),
        policy=policy,
    )
    stopped = blocked(checks)
    asked = needs_approval(invoice.currency, invoice.total, checks, policy)
    return LookedOver(tuple(checks), stopped, None if stopped else asked)


def trends(
    period: Period, aggregates: Sequence[Aggregate], before: Sequence[UsedBefore]
) -> list[Trend]:
    """Also of what was used the month before and is not any more."""
    means = {each.resource_type: each.mean for each in before}
    used = {each.resource_type for each in aggregates if each.period == period}
    gone = [
        each
        for each in before
        if each.last_month == str(period.previous()) and each.resource_type not in used
    ]
    return [
        Trend(
            each.resource_type,
            each.quantity,
            means.get(each.resource_type),
            late=each.period != period,
        )
        for each in aggregates
    ] + [Trend(each.resource_type, Decimal(0), each.mean) for each in gone]


def _late(customer_id: str, known: KnownMonth, now: Plan, claimed: Sequence[Aggregate]) -> Month:
    """A month with late usage, on an invoice that is priced by the plan `now`."""
    billed = {each.resource_type for each in known.billed if each.resource_type is not None}
    used = {*_new(claimed, known.period), *billed}
    plan = plan_of_late_usage(known.billed_by, known.plan, now, used)
    if plan is None:
        raise without_prices(customer_id, known.period)
    return _to_bill(known, plan, claimed)


def _to_bill(known: KnownMonth, plan: Plan, claimed: Sequence[Aggregate]) -> Month:
    new = _new(claimed, known.period)
    return month_to_bill(known.period, plan, new, known.billed, known.billed_by)


def _new(claimed: Sequence[Aggregate], period: Period) -> Mapping[str, Decimal]:
    return {each.resource_type: each.quantity for each in claimed if each.period == period}
