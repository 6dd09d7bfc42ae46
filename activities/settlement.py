"""Closing a customer's month: one transaction a step. What it comes to is decided in
`domain/month.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from temporalio import activity

from domain.access import SYSTEM
from domain.approval import Reminder, Verdict
from domain.audit import Action, Entry, Noun, system
from domain.customer import Customer
from domain.dead_letter import of_settlement
from domain.decision import decision
from domain.errors import NotFound, Rejected
from domain.event import JSON
from domain.invoice import Invoice, InvoiceStatus, created_event
from domain.month import (
    Draft,
    DraftedMonth,
    LookedOver,
    StandingMonth,
    draft,
    late_months,
    look_over,
    undecided,
    without_prices,
)
from domain.period import Period
from domain.pricing_snapshot import PricingSnapshot, says_nothing
from domain.proposal import together
from domain.settlement import (
    ENDED,
    INSTEAD,
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
from domain.workflow_id import settlement_workflow_id
from store import audit, change, clock, dead_letter, invoice, month, outbox, settlement, usage
from store.change import Change
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
        """Claim the month's usage, price it, and look it over: it may be issued, must be approved,
        or must not leave. What is issued, or waits for a person, is only found."""
        period = Period.parse(wanted.period)
        async with self._database.begin(SYSTEM) as tx:
            begun = await month.begin(tx, wanted.customer_id)
            if begun is None:
                raise NotFound(f"There is no customer {wanted.customer_id}.")
            whose, now = begun
            ends_at = period.ends_at(whose.time_zone)
            if now < ends_at:
                return not_over(period, ends_at)
            standing = await month.standing(tx, whose, period)
            made = await _made(tx, whose, wanted, standing)
            if made.status in ENDED:
                ended = EndedSettlement(wanted, made.status, made.reason, made.invoice_id)
                await _record(tx, ended)
            return made

    @activity.defn(name="settlement.issue")
    async def issue(self, made: DecidedDraft) -> Issued | SettlementStatus:
        """Number it, date it, tell the world; once. Where it is not issued, how it stands instead:
        SKIPPED when there is nothing to tell, REJECTED when somebody was faster."""
        wanted = made.settlement
        async with self._database.begin(SYSTEM) as tx:
            before, due_in = await invoice.lock_with_terms(tx, made.invoice_id)
            instead, decided = not_issued(before), await _decision(tx, made.verdict)
            if instead is not None:
                if instead is SettlementStatus.SKIPPED:
                    await invoice.skip(tx, before.id, decided)
                    if before.status is not InvoiceStatus.SKIPPED:
                        await audit.append(tx, *_decided(made, Action.INVOICE_APPROVED))
                ended = EndedSettlement(wanted, instead, INSTEAD[instead], before.id)
                await _record(tx, ended)
                return instead
            row, number = await invoice.issue(tx, before.id, due_in, decided)
            owed = invoice.request(row, wanted.dunning, wanted.waits)
            settled = EndedSettlement(wanted, SettlementStatus.SETTLED, invoice_id=row.id)
            changes = _recording(settled)
            if before.number is None:
                told = created_event(owed, number), completed_event(owed)
                noted = *_decided(made, Action.INVOICE_APPROVED), _issuing(row, before.status)
                changes += [outbox.appending(*told), audit.appending(*noted)]
            await change.make(tx, *changes)
            return Issued(owed, number)

    @activity.defn(name="settlement.reject")
    async def reject(self, made: DecidedDraft) -> bool:
        """The draft is void and its usage is free again. True when it was issued before: then it
        stays so."""
        async with self._database.begin(SYSTEM) as tx:
            decided = await _decision(tx, made.verdict)
            if decided and await invoice.reject(tx, made.invoice_id, decided):
                await usage.release(tx, made.invoice_id)
                await audit.append(tx, *_decided(made, Action.INVOICE_REJECTED))
            row = await invoice.lock(tx, made.invoice_id)
            if row.status is not InvoiceStatus.REJECTED:
                return True
            reason = made.verdict.reason if made.verdict else None
            rejected = SettlementStatus.REJECTED
            await _record(tx, EndedSettlement(made.settlement, rejected, reason, row.id))
            return False

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
            await _record(tx, ended)


async def _record(tx: Transaction, ended: EndedSettlement) -> None:
    """What the run report shows of this customer, and what waits for an operator: a month that
    failed, until it does not any more."""
    await change.make(tx, *_recording(ended))
    if ended.status is SettlementStatus.FAILED:
        await dead_letter.bury(tx, of_settlement(ended))


def _recording(ended: EndedSettlement) -> list[Change]:
    """The same as parts of a statement, of what did not fail."""
    recorded = settlement.recording(ended)
    if ended.status is SettlementStatus.FAILED:
        return [recorded]
    wanted = ended.settlement
    owner = settlement_workflow_id(wanted.customer_id, wanted.period)
    return [recorded, dead_letter.resolving(owner)]


def _decided(made: DecidedDraft, what: Action) -> list[Entry]:
    """What a person decided about a draft, or its deadline; nothing where nobody was asked."""
    wanted, verdict = made.settlement, made.verdict
    if verdict is None:
        return []
    by = verdict.by or system(settlement_workflow_id(wanted.customer_id, wanted.period))
    id_, whose = made.invoice_id, wanted.customer_id
    after = together(verdict.persons) or None
    return [Entry(by, what, Noun.INVOICE, id_, whose, after=after, reason=verdict.reason)]


def _issuing(row: Invoice, before: InvoiceStatus) -> Entry:
    after: dict[str, JSON] = {"status": row.status, "total": row.total, "currency": row.currency}
    return Entry(
        system(row.workflow_id),
        Action.INVOICE_ISSUED,
        Noun.INVOICE,
        row.id,
        row.customer_id,
        before={"status": before},
        after=after,
    )


async def _made(
    tx: Transaction, whose: Customer, wanted: SettlementRequest, standing: StandingMonth
) -> Drafted:
    """The draft, made or made anew; whatever is refused claims nothing."""
    if standing.invoice_id is None:
        return await _draft(tx, whose, wanted, standing, None)
    current = await invoice.lock(tx, standing.invoice_id)
    if current.status not in invoice.MADE_ANEW:
        return found(current)
    try:
        async with tx.begin_nested():
            return await _draft(tx, whose, wanted, standing, current)
    except Rejected as refusal:
        if current.status is not InvoiceStatus.DRAFT:
            raise
        # Else what an earlier run had claimed would be nobody's, and made for ever.
        await _stop(tx, current.id, str(refusal), current.period, current.snapshot)
        return Drafted(SettlementStatus.FAILED, current.id, reason=str(refusal))


async def _draft(
    tx: Transaction,
    whose: Customer,
    wanted: SettlementRequest,
    standing: StandingMonth,
    current: Invoice | None,
) -> Drafted:
    """Claim, read, decide, write."""
    own, period, plan = standing.month, standing.month.period, standing.month.plan
    ends_at = period.ends_at(whose.time_zone)
    if plan is None:
        if current is None and standing.free_since is None:
            return Drafted(SettlementStatus.SKIPPED)
        raise without_prices(whose.id, period)
    invoice_id = new_id() if current is None else current.id
    since = standing.free_since
    if current is not None:
        await usage.release(tx, invoice_id)
        await invoice.empty_draft(tx, invoice_id)
        own = await month.known(tx, whose, period)
        since = await usage.first_to_claim(tx, invoice_id, whose.id, ends_at)
    left_out = undecided(period, standing.drafts)
    claimed = await usage.claim(tx, invoice_id, whose.id, since, ends_at, whose.time_zone, left_out)
    late = late_months(period, claimed)
    known = [await month.known(tx, whose, each) for each in late]
    made = draft(whose, plan, own, known, claimed)
    if made is None:
        if current is not None:
            await invoice.discard_draft(tx, invoice_id)
        return Drafted(SettlementStatus.SKIPPED)
    rejected = await _rejected(tx, whose.id, late, invoice_id)
    drafted = DraftedMonth(made.content, made.priced.lines, made.claimed, rejected, standing.before)
    looked = look_over(drafted, wanted.approval)
    await _write(tx, whose.id, current, invoice_id, made, looked)
    return await _standing(tx, invoice_id, made, looked)


async def _rejected(
    tx: Transaction, customer_id: str, late: Sequence[Period], invoice_id: str
) -> tuple[str, ...]:
    """Those of these months whose usage a person has taken off an invoice."""
    if not late:
        return ()
    months = [str(each) for each in late]
    return tuple(await invoice.given_back(tx, customer_id, months, other_than=invoice_id))


async def _write(
    tx: Transaction,
    customer_id: str,
    current: Invoice | None,
    invoice_id: str,
    made: Draft,
    looked: LookedOver,
) -> None:
    info, content = activity.info(), made.content
    run_id = info.workflow_run_id or ""
    checks = [asdict(check) for check in looked.checks]
    if current is None:
        await invoice.create_draft(
            tx,
            invoice_id,
            customer_id,
            content.period,
            content.currency,
            info.workflow_id or "",
            run_id,
            content.total,
            content.snapshot,
            made.claimed,
            made.priced.lines,
            checks,
        )
    else:
        await invoice.fill_draft(
            tx,
            invoice_id,
            run_id,
            content.currency,
            content.total,
            content.snapshot,
            made.claimed,
            made.priced.lines,
            checks,
        )


async def _standing(tx: Transaction, invoice_id: str, made: Draft, looked: LookedOver) -> Drafted:
    """How the draft goes on: to nobody, to a person, or to its issue."""
    content = made.content
    if looked.stopped:
        await _stop(tx, invoice_id, looked.stopped, content.period, content.snapshot)
    elif looked.asked:
        waits = InvoiceStatus.AWAITING_APPROVAL
        await invoice.set_draft_status(tx, invoice_id, waits, looked.asked)
        return found(await invoice.lock(tx, invoice_id))
    drafted = Drafted(looked.status, invoice_id, content.total, content.currency, looked.stopped)
    if looked.stopped or not says_nothing(made.priced.lines):
        return drafted
    await invoice.set_draft_status(tx, invoice_id, InvoiceStatus.SKIPPED, None)
    skipped = SettlementStatus.SKIPPED
    return replace(drafted, status=skipped, reason=INSTEAD[skipped])


async def _stop(
    tx: Transaction, invoice_id: str, reason: str, period: str, snapshot: dict[str, Any]
) -> None:
    """A draft that must not be issued waits for another settlement. Other months may be settled
    meanwhile: their usage is not this one's prisoner."""
    await invoice.set_draft_status(tx, invoice_id, InvoiceStatus.DRAFT, reason)
    zone = PricingSnapshot.from_json(snapshot).time_zone or "UTC"
    await usage.release_late(tx, invoice_id, Period.parse(period), zone)


async def _decision(tx: Transaction, verdict: Verdict | None) -> Mapping[str, str] | None:
    if verdict is None:
        return None
    at = await clock.now(tx)
    return decision(at, verdict.actor, verdict.decision, verdict.reason, verdict.update_id)
