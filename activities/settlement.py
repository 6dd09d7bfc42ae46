"""Closing a customer's month: one transaction a step. What it comes to is decided in
`domain/month.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from temporalio import activity

from domain.access import SYSTEM
from domain.approval import Reminder, Verdict
from domain.customer import Customer
from domain.decision import decision
from domain.errors import NotFound, Rejected
from domain.invoice import Invoice, InvoiceStatus, created_event
from domain.month import Draft, draft, late_months, look_over, undecided, without_prices
from domain.period import Period
from domain.pricing_snapshot import PricingSnapshot
from domain.settlement import (
    DecidedDraft,
    Drafted,
    EndedSettlement,
    Issued,
    SettlementRequest,
    SettlementStatus,
    completed_event,
    found,
    not_issued,
    not_over,
)
from store import clock, customer, invoice, month, outbox, settlement, usage
from store.database import Database, Transaction
from store.identifier import new_id

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
            whose = await _customer(tx, wanted.customer_id)
            ends_at = period.ends_at(whose.time_zone)
            if await clock.now(tx) < ends_at:
                return not_over(period, ends_at)
            await usage.lock(tx, whose.id)
            current = await invoice.current(tx, whose.id, wanted.period)
            if current is not None and current.status not in invoice.MADE_ANEW:
                return found(current)
            try:
                async with tx.begin_nested():
                    return await _draft(tx, whose, period, current)
            except Rejected as refusal:
                if current is None or current.status is not InvoiceStatus.DRAFT:
                    raise
                # Else what an earlier run had claimed would be nobody's, and made for ever.
                await _stop(tx, current, str(refusal), current.checks)
                status = SettlementStatus.FAILED
                return Drafted(status, current.id, reason=str(refusal))

    @activity.defn(name="settlement.check")
    async def check(self, made: DecidedDraft) -> Drafted:
        """Look the draft over: it may be issued, must be approved, or must not leave."""
        async with self._database.begin(SYSTEM) as tx:
            row = await invoice.lock(tx, made.invoice_id)
            if row.status is not InvoiceStatus.DRAFT:
                return found(row)
            looked = look_over(await month.drafted(tx, row), made.settlement.approval)
            checks = [asdict(check) for check in looked.checks]
            if looked.stopped:
                await _stop(tx, row, looked.stopped, checks)
            else:
                waits = InvoiceStatus.AWAITING_APPROVAL if looked.asked else InvoiceStatus.DRAFT
                await invoice.set_draft_status(tx, row.id, waits, looked.asked, checks)
        reason = looked.stopped or looked.asked
        return Drafted(looked.status, row.id, row.total, row.currency, reason)

    @activity.defn(name="settlement.issue")
    async def issue(self, made: DecidedDraft) -> Issued | SettlementStatus:
        """Number it, date it, tell the world; once. Where it is not issued, how it stands instead:
        SKIPPED when there is nothing to tell, REJECTED when somebody was faster."""
        wanted = made.settlement
        async with self._database.begin(SYSTEM) as tx:
            before = await invoice.lock(tx, made.invoice_id)
            instead, decided = not_issued(before), await _decision(tx, made.verdict)
            if instead is SettlementStatus.SKIPPED:
                await invoice.skip(tx, before.id, decided)
            if instead is not None:
                return instead
            whose = await _customer(tx, before.customer_id)
            due_in = timedelta(days=whose.due_days)
            row, number = await invoice.issue(tx, before.id, due_in, decided)
            owed = invoice.request(row, wanted.dunning, wanted.waits)
            if before.number is None:
                await outbox.append(tx, created_event(owed, number), completed_event(owed))
            return Issued(owed, number)

    @activity.defn(name="settlement.reject")
    async def reject(self, made: DecidedDraft) -> bool:
        """The draft is void and its usage is free again. True when it was issued before: then it
        stays so."""
        async with self._database.begin(SYSTEM) as tx:
            decided = await _decision(tx, made.verdict)
            if decided and await invoice.reject(tx, made.invoice_id, decided):
                await usage.release(tx, made.invoice_id)
            row = await invoice.lock(tx, made.invoice_id)
            return row.status is not InvoiceStatus.REJECTED

    @activity.defn(name="settlement.note")
    async def note(self, reminder: Reminder) -> None:
        """Keep with the draft that somebody was reminded; once by each name."""
        async with self._database.begin(SYSTEM) as tx:
            row = await invoice.lock(tx, reminder.invoice_id)
            if reminder.name not in [each["decision"] for each in row.decisions]:
                noted = decision(await clock.now(tx), DEADLINE, reminder.name, reminder.reason)
                await invoice.add_decision(tx, row.id, noted)

    @activity.defn(name="settlement.record")
    async def record(self, ended: EndedSettlement) -> None:
        """What the run report shows of this customer."""
        async with self._database.begin(SYSTEM) as tx:
            await settlement.record(tx, ended)


async def _customer(tx: Transaction, customer_id: str) -> Customer:
    whose = await customer.find(tx, customer_id)
    if whose is None:
        raise NotFound(f"There is no customer {customer_id}.")
    return whose


async def _draft(
    tx: Transaction, whose: Customer, period: Period, current: Invoice | None
) -> Drafted:
    """Claim, read, decide, write. Whatever is refused claims nothing."""
    ends_at = period.ends_at(whose.time_zone)
    plan = await month.plan(tx, whose, period)
    if plan is None:
        if current is None and not await usage.any_unclaimed(tx, whose.id, ends_at):
            return Drafted(SettlementStatus.SKIPPED)
        raise without_prices(whose.id, period)
    invoice_id = new_id() if current is None else current.id
    if current is not None:
        await usage.release(tx, invoice_id)
        await invoice.empty_draft(tx, invoice_id)
    left_out = undecided(period, await invoice.open_drafts(tx, whose.id, invoice_id))
    claimed = await usage.claim(tx, invoice_id, whose.id, ends_at, whose.time_zone, left_out)
    own = await month.known(tx, whose, period, plan)
    late = [
        await month.known(tx, whose, each, await month.plan(tx, whose, each))
        for each in late_months(period, claimed)
    ]
    made = draft(whose, plan, own, late, claimed)
    if made is not None:
        await _write(tx, whose.id, period, current, invoice_id, made)
        status = SettlementStatus.RUNNING
        return Drafted(status, invoice_id, made.priced.total, made.currency)
    if current is not None:
        await invoice.discard_draft(tx, invoice_id)
    return Drafted(SettlementStatus.SKIPPED)


async def _write(
    tx: Transaction,
    customer_id: str,
    period: Period,
    current: Invoice | None,
    invoice_id: str,
    made: Draft,
) -> None:
    info = activity.info()
    run_id = info.workflow_run_id or ""
    if current is None:
        workflow_id = info.workflow_id or ""
        await invoice.create_draft(
            tx, invoice_id, customer_id, str(period), made.currency, workflow_id, run_id
        )
    await invoice.fill_draft(
        tx,
        invoice_id,
        run_id,
        made.currency,
        made.priced.total,
        made.snapshot.to_json(),
        made.claimed,
        made.priced.lines,
    )


async def _stop(
    tx: Transaction, row: Invoice, reason: str, checks: Sequence[Mapping[str, Any]]
) -> None:
    """A draft that must not be issued waits for another settlement. Other months may be settled
    meanwhile: their usage is not this one's prisoner."""
    await invoice.set_draft_status(tx, row.id, InvoiceStatus.DRAFT, reason, checks)
    zone = PricingSnapshot.from_json(row.snapshot).time_zone or "UTC"
    await usage.release_late(tx, row.id, Period.parse(row.period), zone)


async def _decision(tx: Transaction, verdict: Verdict | None) -> Mapping[str, str] | None:
    if verdict is None:
        return None
    at = await clock.now(tx)
    return decision(at, verdict.actor, verdict.decision, verdict.reason, verdict.update_id)
