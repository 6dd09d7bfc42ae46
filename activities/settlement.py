"""Closing a customer's month: one transaction a step."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio import activity

from domain.access import SYSTEM
from domain.approval import (
    QualityCheck,
    Reminder,
    Trend,
    Verdict,
    blocked,
    needs_approval,
    quality_checks,
)
from domain.customer import Customer
from domain.decision import decision
from domain.errors import NotFound, Rejected, SettlementFailed
from domain.event import JSON, Event, Origin, Topic
from domain.invoice import GAVE_BACK, Invoice, InvoiceRequest, InvoiceStatus, created_event
from domain.period import Period
from domain.pricing import Plan
from domain.pricing_snapshot import (
    Month,
    PricingSnapshot,
    month_to_bill,
    plan_of_late_usage,
    price_invoice,
    says_nothing,
)
from domain.settlement import (
    DecidedDraft,
    Drafted,
    EndedSettlement,
    Issued,
    SettlementRequest,
    SettlementStatus,
)
from domain.usage import Aggregate
from store import clock, customer, invoice, outbox, pricing, settlement, usage
from store.database import Database, Transaction
from store.identifier import new_id

TRAILING_MONTHS = 6
DEADLINE = "deadline"
"""Who acts on a draft when no person does."""


class SettlementActivities:
    """Safe to run any number of times: a draft is made anew until it is issued or waits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="settlement.draft")
    async def draft(self, wanted: SettlementRequest) -> Drafted:
        """Claim the month's usage and price it. What is issued, or waits for a person, is only
        found."""
        period = Period.parse(wanted.period)
        async with self._database.begin(SYSTEM) as tx:
            whose = await customer.find(tx, wanted.customer_id)
            if whose is None:
                raise NotFound(f"There is no customer {wanted.customer_id}.")
            ends_at = period.ends_at(whose.time_zone)
            if await clock.now(tx) < ends_at:
                return _not_over(period, ends_at)
            await usage.lock(tx, whose.id)
            current = await invoice.current(tx, wanted.customer_id, wanted.period)
            if current is not None and current.status not in invoice.MADE_ANEW:
                return _found(current)
            try:
                async with tx.begin_nested():
                    return await _draft(tx, wanted, whose, period, current)
            except Rejected as refusal:
                if current is None or current.status is not InvoiceStatus.DRAFT:
                    raise
                # Else what an earlier run had claimed would be nobody's, and made for ever.
                await _stop(tx, current, str(refusal), current.checks)
                status = SettlementStatus.FAILED
                return Drafted(status, current.id, reason=str(refusal))

    @activity.defn(name="settlement.check")
    async def check(self, draft: DecidedDraft) -> Drafted:
        """Look the draft over: it may be issued, must be approved, or must not leave."""
        policy = draft.settlement.approval
        async with self._database.begin(SYSTEM) as tx:
            row = await invoice.lock(tx, draft.invoice_id)
            if row.status is not InvoiceStatus.DRAFT:
                return _found(row)
            checks = await _checks(tx, draft, row)
            stored = [asdict(check) for check in checks]
            stopped = blocked(checks)
            asked = None if stopped else needs_approval(row.currency, row.total, checks, policy)
            if stopped:
                await _stop(tx, row, stopped, stored)
            else:
                waits = InvoiceStatus.AWAITING_APPROVAL if asked else InvoiceStatus.DRAFT
                await invoice.set_draft_status(tx, row.id, waits, asked, stored)
        status = SettlementStatus.RUNNING
        if stopped:
            status = SettlementStatus.FAILED
        elif asked:
            status = SettlementStatus.AWAITING_APPROVAL
        return Drafted(status, row.id, row.total, row.currency, stopped or asked)

    @activity.defn(name="settlement.issue")
    async def issue(self, draft: DecidedDraft) -> Issued | SettlementStatus:
        """Number it, date it, tell the world; once. Where it is not issued, how it stands instead:
        SKIPPED when there is nothing to tell, REJECTED when somebody was faster."""
        wanted = draft.settlement
        async with self._database.begin(SYSTEM) as tx:
            before = await invoice.lock(tx, draft.invoice_id)
            if before.status is InvoiceStatus.REJECTED:
                return SettlementStatus.REJECTED
            not_issued = before.number is None and before.status not in GAVE_BACK
            if not_issued and _says_nothing(before):
                await invoice.skip(tx, draft.invoice_id, await _decision(tx, draft.verdict))
                return SettlementStatus.SKIPPED
            whose: Any = await customer.find(tx, wanted.customer_id)
            due_in = timedelta(days=whose.due_days)
            decided = await _decision(tx, draft.verdict)
            row, number = await invoice.issue(tx, draft.invoice_id, due_in, decided)
            owed = invoice.request(row, wanted.dunning, wanted.waits)
            if before.number is None:
                await outbox.append(tx, created_event(owed, number), _completed(owed))
            return Issued(owed, number)

    @activity.defn(name="settlement.reject")
    async def reject(self, draft: DecidedDraft) -> bool:
        """The draft is void and its usage is free again. True when it was issued before: then it
        stays so."""
        async with self._database.begin(SYSTEM) as tx:
            decided = await _decision(tx, draft.verdict)
            if decided and await invoice.reject(tx, draft.invoice_id, decided):
                await usage.release(tx, draft.invoice_id)
            row = await invoice.lock(tx, draft.invoice_id)
            return row.status is not InvoiceStatus.REJECTED

    @activity.defn(name="settlement.note")
    async def note(self, reminder: Reminder) -> None:
        """Keep with the draft that somebody was reminded; once by each name."""
        async with self._database.begin(SYSTEM) as tx:
            row = await invoice.lock(tx, reminder.invoice_id)
            if reminder.name not in [each["decision"] for each in row.decisions]:
                await invoice.add_decision(tx, row.id, await _noted(tx, reminder))

    @activity.defn(name="settlement.record")
    async def record(self, ended: EndedSettlement) -> None:
        """What the run report shows of this customer."""
        async with self._database.begin(SYSTEM) as tx:
            await settlement.record(tx, ended)


async def _plan(tx: Transaction, whose: Customer, period: Period) -> Plan | None:
    """The prices that hold for the customer when the month begins, else when it ends."""
    begins, ends = period.starts_at(whose.time_zone), period.ends_at(whose.time_zone)
    for moment in (begins, ends - timedelta(microseconds=1)):
        code = await customer.plan_at(tx, whose.id, moment)
        plan = None if code is None else await pricing.effective(tx, code, moment)
        if plan is not None:
            return plan
    return None


async def _draft(
    tx: Transaction,
    wanted: SettlementRequest,
    whose: Customer,
    period: Period,
    current: Invoice | None,
) -> Drafted:
    ends_at = period.ends_at(whose.time_zone)
    plan = await _plan(tx, whose, period)
    if plan is None:
        if current is None and not await usage.any_unclaimed(tx, whose.id, ends_at):
            return Drafted(SettlementStatus.SKIPPED)
        raise NotFound(f"{whose.id} has no plan with prices for {period}.")
    info = activity.info()
    invoice_id = new_id() if current is None else current.id
    if current is not None:
        await usage.release(tx, invoice_id)
        await invoice.empty_draft(tx, invoice_id)
    undecided = await _undecided_months(tx, whose.id, period, invoice_id)
    claimed = await usage.claim(tx, invoice_id, whose.id, ends_at, whose.time_zone, undecided)
    snapshot = await _snapshot(tx, whose, plan, period, claimed)
    priced = price_invoice(snapshot)
    if not claimed and not priced.lines:
        if current is not None:
            await invoice.discard_draft(tx, invoice_id)
        return Drafted(SettlementStatus.SKIPPED)
    run_id = info.workflow_run_id or ""
    if current is None:
        await invoice.create_draft(
            tx, invoice_id, whose.id, wanted.period, plan.currency, info.workflow_id or "", run_id
        )
    await invoice.fill_draft(
        tx,
        invoice_id,
        run_id,
        plan.currency,
        priced.total,
        snapshot.to_json(),
        claimed,
        priced.lines,
    )
    return Drafted(SettlementStatus.RUNNING, invoice_id, priced.total, plan.currency)


async def _stop(
    tx: Transaction, row: Invoice, reason: str, checks: Sequence[Mapping[str, Any]]
) -> None:
    """A draft that must not be issued waits for another settlement. Other months may be settled
    meanwhile: their usage is not this one's prisoner."""
    await invoice.set_draft_status(tx, row.id, InvoiceStatus.DRAFT, reason, checks)
    zone = PricingSnapshot.from_json(row.snapshot).time_zone or "UTC"
    await usage.release_late(tx, row.id, Period.parse(row.period), zone)


async def _undecided_months(
    tx: Transaction, customer_id: str, period: Period, invoice_id: str
) -> set[Period]:
    """Months that a draft bills which may be rejected yet: what they cost on top is not known. The
    month to be settled must not be one of them."""
    months: set[Period] = set()
    for draft in await invoice.open_drafts(tx, customer_id, invoice_id):
        its_months = {Period.parse(each) for each in (draft.period, draft.month) if each}
        if period in its_months:
            sentence = f"The draft of {draft.period} has usage of {period}"
            if draft.status is InvoiceStatus.AWAITING_APPROVAL:
                raise SettlementFailed(f"{sentence} and waits for approval: decide it first.")
            raise RuntimeError(f"{sentence} and is being made")
        months |= its_months
    return months


async def _snapshot(
    tx: Transaction, whose: Customer, plan: Plan, period: Period, claimed: Sequence[Aggregate]
) -> PricingSnapshot:
    late = sorted({each.period for each in claimed} - {period})
    billed = await invoice.billed(tx, whose.id, str(period))
    billed_by = await _billed_by(tx, whose.id, period)
    return PricingSnapshot(
        time_zone=whose.time_zone,
        month=month_to_bill(period, plan, _new(claimed, period), billed, billed_by),
        late=tuple([await _late_month(tx, whose, each, plan, claimed) for each in late]),
    )


async def _late_month(
    tx: Transaction, whose: Customer, period: Period, now: Plan, claimed: Sequence[Aggregate]
) -> Month:
    """A month with late usage, on an invoice that is priced by the plan `now`."""
    billed = await invoice.billed(tx, whose.id, str(period))
    billed_by = await _billed_by(tx, whose.id, period)
    today = await _plan(tx, whose, period)
    new = _new(claimed, period)
    used = {*new, *(each.resource_type for each in billed if each.resource_type is not None)}
    plan = plan_of_late_usage(billed_by, today, now, used)
    if plan is None:
        raise NotFound(f"{whose.id} has no plan with prices for {period}.")
    return month_to_bill(period, plan, new, billed, billed_by)


async def _billed_by(tx: Transaction, customer_id: str, period: Period) -> list[Plan]:
    plans = [each.plan_of(period) for each in await invoice.snapshots(tx, customer_id, str(period))]
    return [plan for plan in plans if plan is not None]


def _new(claimed: Sequence[Aggregate], period: Period) -> dict[str, Decimal]:
    return {each.resource_type: each.quantity for each in claimed if each.period == period}


async def _checks(tx: Transaction, draft: DecidedDraft, row: Invoice) -> list[QualityCheck]:
    amounts = [line.amount for line in await invoice.lines(tx, row.id)]
    recomputed = price_invoice(PricingSnapshot.from_json(row.snapshot))
    aggregates = await invoice.aggregates(tx, row.id)
    late = [each for each in aggregates if _is_late(each, row)]
    late_months = sorted({str(each.period) for each in late})
    return quality_checks(
        amounts,
        row.total,
        recomputed.total,
        recomputed.unpriced,
        recomputed.doubts,
        late=[f"{each.resource_type} of {each.period}" for each in late],
        rejected=await invoice.given_back(tx, row.customer_id, late_months, other_than=row.id),
        trends=await _trends(tx, row, aggregates),
        policy=draft.settlement.approval,
    )


async def _trends(tx: Transaction, row: Invoice, aggregates: Sequence[Aggregate]) -> list[Trend]:
    """Also of what was used the month before and is not any more."""
    months, month = [], Period.parse(row.period)
    for _ in range(TRAILING_MONTHS):
        month = month.previous()
        months.append(str(month))
    before = {
        each.resource_type: each
        for each in await invoice.used_before(tx, row.customer_id, row.period, months)
    }
    trends = [
        Trend(
            each.resource_type,
            each.quantity,
            before[each.resource_type].mean if each.resource_type in before else None,
            late=_is_late(each, row),
        )
        for each in aggregates
    ]
    used = {each.resource_type for each in trends if not each.late}
    gone = [each for name, each in before.items() if name not in used]
    return trends + [
        Trend(each.resource_type, Decimal(0), each.mean)
        for each in gone
        if each.last_month == months[0]
    ]


def _says_nothing(row: Invoice) -> bool:
    return says_nothing(price_invoice(PricingSnapshot.from_json(row.snapshot)).lines)


def _is_late(aggregate: Aggregate, row: Invoice) -> bool:
    return str(aggregate.period) != row.period


def _not_over(period: Period, ends_at: datetime) -> Drafted:
    reason = f"{period} lasts until {ends_at.isoformat()}"
    return Drafted(SettlementStatus.NOT_OVER, reason=reason, not_before=ends_at)


def _found(row: Invoice) -> Drafted:
    """What a draft has become already."""
    if row.status is not InvoiceStatus.AWAITING_APPROVAL:
        return Drafted(SettlementStatus.SETTLED, row.id, row.total, row.currency, row.reason)
    status, since = SettlementStatus.AWAITING_APPROVAL, row.updated_at
    return Drafted(status, row.id, row.total, row.currency, row.reason, since)


async def _decision(tx: Transaction, verdict: Verdict | None) -> Mapping[str, str] | None:
    if verdict is None:
        return None
    at = await clock.now(tx)
    return decision(at, verdict.actor, verdict.decision, verdict.reason, verdict.update_id)


async def _noted(tx: Transaction, reminder: Reminder) -> Mapping[str, str]:
    return decision(await clock.now(tx), DEADLINE, reminder.name, reminder.reason)


def _completed(owed: InvoiceRequest) -> Event:
    data: dict[str, JSON] = {
        "customerId": owed.customer_id,
        "period": owed.period,
        "invoiceId": owed.invoice_id,
        "currency": owed.currency,
        "total": owed.total,
    }
    topic = Topic.SETTLEMENT_COMPLETED
    return Event(topic, owed.invoice_id, owed.customer_id, data, Origin())
