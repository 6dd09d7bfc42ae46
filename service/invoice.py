"""Invoices: what customers are to pay for their months, and what somebody decides about them."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from domain import usage as usage_rules
from domain.access import Access
from domain.approval import Verdict, judged
from domain.audit import Action, Entry, Noun, actor
from domain.decision import Decided
from domain.errors import (
    AlreadyFinal,
    InvoiceNotIssued,
    NotFound,
    NotInReview,
    PaymentMethodMissing,
    Rejected,
)
from domain.invoice import (
    CLOSED,
    GAVE_BACK,
    OPEN,
    CloseRequest,
    Closing,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    ListedInvoice,
    Wanted,
    closed,
    unpayable,
)
from domain.payment import FINAL, Payment
from domain.period import Period
from domain.proposal import ALONE, Agreed, Decision, Proposal
from domain.usage import Aggregate, CountedEvent
from domain.workflow_id import invoice_workflow_id
from service import proposal
from service.audit import viewed
from service.call import Answer, Call, Seen
from service.desk import Desk
from service.owner import Update, told, update_id
from service.page import Position
from service.recomputation import differences, zone_of
from service.starts import start_invoice, start_settlement
from store import audit, customer, idempotency, invoice, payment, usage
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.page import Page, Place

POLL_SECONDS = 0.03
EXPORTED_AT_ONCE = 2_000
"""Events that are in memory together."""
DECIDED = frozenset(InvoiceStatus) - {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL}

Judge = Callable[[InvoiceStatus, Sequence[Mapping[str, str]]], Decided | None]
"""What was decided, by an invoice's status and the decisions that are kept with it."""


class CutShort(Exception):
    """What is on its way is not whole, and must not end as if it were."""


@dataclass(frozen=True)
class InvoiceRecord:
    """An invoice with its lines, and with its payments, oldest first."""

    invoice: Invoice
    lines: Sequence[InvoiceLine]
    payments: Sequence[Payment]


@dataclass(frozen=True)
class Lineage:
    """An invoice and the aggregates that its amounts come from, by resource type and month."""

    record: InvoiceRecord
    aggregates: Mapping[tuple[str | None, Period], Aggregate]


async def get(desk: Desk, access: Access, invoice_id: str) -> InvoiceRecord:
    """An invoice as it stands; raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
        access.require(row.customer_id)
        seen = await record(tx, row)
    await viewed(desk, access, Noun.INVOICE, row.id, row.customer_id)
    return seen


async def lineage(desk: Desk, access: Access, invoice_id: str) -> Lineage:
    """Every amount back to its events."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
        access.require(row.customer_id)
        aggregates = await invoice.aggregates(tx, row.id)
        by_month: dict[tuple[str | None, Period], Aggregate] = {
            (each.resource_type, each.period): each for each in aggregates
        }
        traced = Lineage(await record(tx, row), by_month)
    await viewed(desk, access, Noun.INVOICE, row.id, row.customer_id)
    return traced


async def recomputed(desk: Desk, access: Access, invoice_id: str) -> tuple[Invoice, list[str]]:
    """An invoice, and where it differs from what its raw events and its frozen price list come to.
    Raises `NotFound`, and `InvoiceNotIssued` for what bills nothing."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
        access.require(row.customer_id)
        _require_events(row)
        differing = await differences(tx, row)
    await viewed(desk, access, Noun.INVOICE, row.id, row.customer_id)
    return row, differing


def _require_events(row: Invoice) -> None:
    if row.status in GAVE_BACK:
        raise InvoiceNotIssued(
            f"The invoice was {row.status.lower()}: its usage is free, and nothing is billed."
        )
    if row.status is InvoiceStatus.DRAFT:
        raise InvoiceNotIssued(f"The draft is not ready: {row.reason or 'it is being made'}.")


async def events(
    desk: Desk,
    access: Access,
    invoice_id: str,
    wanted: usage_rules.Wanted,
    place: Place | None,
    limit: int,
) -> Page[CountedEvent]:
    """The events that it bills, below a place, what happened last first. Raises `NotFound`, and
    `InvoiceNotIssued` for what bills nothing."""
    async with desk.database.read(access.scope) as tx:
        row, of_it = await _events_of(tx, access, invoice_id, wanted)
        seen = await usage.listed(tx, of_it, place, limit)
    await viewed(desk, access, Noun.INVOICE, row.id, row.customer_id)
    return seen


async def exported(
    desk: Desk, access: Access, invoice_id: str, wanted: usage_rules.Wanted
) -> AsyncIterator[Sequence[CountedEvent]]:
    """All of them, what happened first first, some at a time. That somebody takes the events of a
    customer away is noted before. Raises `NotFound`, and `InvoiceNotIssued` for what bills
    nothing; whoever reads on may meet `CutShort`."""
    async with desk.database.begin(access.scope) as tx:
        row, of_it = await _events_of(tx, access, invoice_id, wanted)
        due = sum(
            each.events
            for each in await invoice.aggregates(tx, row.id)
            if wanted.resource_type in (None, each.resource_type)
            and wanted.period in (None, each.period)
        )
        if access.for_everybody:
            who, after = actor(access), {"events": due}
            taken = (Noun.INVOICE, row.id, row.customer_id)
            await audit.append(tx, Entry(who, Action.DATA_EXPORTED, *taken, after=after))
    return _batches(desk, access, of_it, due)


async def _batches(
    desk: Desk, access: Access, wanted: usage_rules.Wanted, due: int
) -> AsyncIterator[Sequence[CountedEvent]]:
    """Each by a transaction of its own: whoever reads slowly holds none open."""
    last = None
    while True:
        async with desk.database.read(access.scope) as tx:
            batch = await usage.after(tx, wanted, last, EXPORTED_AT_ONCE)
        if not batch:
            break
        due -= len(batch)
        yield batch
        last = batch[-1]
    if due:
        raise CutShort("The invoice has given its events back while they were read.")


async def _events_of(
    tx: Transaction, access: Access, invoice_id: str, wanted: usage_rules.Wanted
) -> tuple[Invoice, usage_rules.Wanted]:
    row = await found(tx, invoice_id)
    access.require(row.customer_id)
    _require_events(row)
    return row, replace(wanted, invoice_id=row.id).by(await zone_of(tx, row))


async def page(
    desk: Desk, access: Access, customer_id: str | None, number: int, size: int
) -> list[ListedInvoice]:
    """By number of page, newest first."""
    owner = access.whose(customer_id)
    async with desk.database.statements(access.scope) as tx:
        return await invoice.page(tx, owner, (number - 1) * size, size)


async def crawl(
    desk: Desk,
    access: Access,
    wanted: Wanted,
    place: Position | None,
    size: int,
) -> tuple[list[ListedInvoice], Position | None]:
    """Those after a place, oldest first, with what came late before it, and the place after them;
    None at the end. Whose: see `Access.whose`."""
    at = None if place is None else (place.created_at, place.id)
    before = None if place is None else place.seen
    async with desk.database.statements(access.scope) as tx:
        late, rows, seen = await invoice.crawl(tx, wanted, at, before, size)
    if len(rows) < size or seen is None:
        return [*late, *rows], None
    last = rows[-1].invoice
    return [*late, *rows], Position(last.created_at, last.id, seen)


async def pay(
    desk: Desk, call: Call, invoice_id: str, payment_method_id: str | None
) -> Answer[InvoiceRecord] | StoredAnswer:
    """Charge now instead of at the next step of the ladder, with another card if one is named. The
    answer is final when that charge has ended, however."""
    async with desk.database.read(call.access.scope) as tx:
        row = await found(tx, invoice_id)
        call.access.require(row.customer_id)
        await _require_card(tx, row, payment_method_id)
        before = len(await payment.of_payable(tx, invoice_id))
    update = replace(
        _to_owner(desk, call, row, "pay", payment_method_id, unpayable),
        noted=Entry(
            actor(call.access),
            Action.INVOICE_PAY_REQUESTED,
            Noun.INVOICE,
            row.id,
            row.customer_id,
        ),
    )

    async def view(taken: bool) -> Seen[InvoiceRecord]:
        return await (
            _charged(desk, call.access, invoice_id, before)
            if taken
            else _seen(desk, call.access, invoice_id)
        )

    return await told(desk, call, row.id, update, view)


async def _require_card(tx: Transaction, row: Invoice, payment_method_id: str | None) -> None:
    """Raise `PaymentMethodMissing` where the card that is named, or any that could be charged, is
    not there; a prepaid customer's wallet may be enough."""
    if await customer.payment_method(tx, row.customer_id, payment_method_id) is not None:
        return
    if payment_method_id is not None:
        raise PaymentMethodMissing(f"{row.customer_id} has no such card; add one first.")
    owner = await customer.find(tx, row.customer_id)
    if row.status in OPEN and not (owner and owner.prepaid):
        raise PaymentMethodMissing(f"{row.customer_id} has no card; add one first.")


async def close(
    desk: Desk, call: Call, invoice_id: str, closing: Closing, reason: str
) -> Answer[InvoiceRecord] | StoredAnswer:
    """Paid outside, written off, or cancelled: nothing is charged any more. A large write-off needs
    a second person: raises `SecondPersonNeeded`."""
    async with desk.database.read(call.access.scope) as tx:
        row = await found(tx, invoice_id)
    wanted = desk.terms.second.write_off(row) if closing is Closing.WRITE_OFF else None
    agreed = await _agreed(desk, call, wanted if row.status in OPEN else None, reason)
    who = actor(call.access)
    request = CloseRequest(closing, reason, who.id, by=who, persons=agreed.persons)
    update = _to_owner(desk, call, row, "close", request, closed)
    return await told(desk, call, row.id, update, lambda _: _seen(desk, call.access, invoice_id))


async def decide(
    desk: Desk, call: Call, invoice_id: str, *, approved: bool, reason: str
) -> Answer[InvoiceRecord] | StoredAnswer:
    """Let a draft that waits be issued, or throw it away: its usage is then free again. To issue a
    large one needs a second person: raises `SecondPersonNeeded`."""
    async with desk.database.read(call.access.scope) as tx:
        row = await found(tx, invoice_id)
    waits = row.status is InvoiceStatus.AWAITING_APPROVAL
    wanted = desk.terms.second.approval(row) if approved else None
    agreed = await _agreed(desk, call, wanted if waits else None, reason)
    who = actor(call.access)
    update = Update(
        workflow_id=row.workflow_id,
        name="decide",
        argument=Verdict(approved, reason, who.id, by=who, persons=agreed.persons),
        id=update_id(call),
        refusal=None if waits else NotInReview(f"It is {row.status}."),
        decided=partial(_decided, desk, call.access, row.id, judged),
        start_owner=partial(_start_settlement, desk, call.access, row.id),
    )
    return await told(
        desk, call, row.id, update, lambda _: _seen(desk, call.access, invoice_id, DECIDED)
    )


async def _agreed(desk: Desk, call: Call, wanted: Decision | None, reason: str) -> Agreed:
    """Asked before the key is claimed: while it waits, the key has no answer. What was claimed was
    let through, and is handed over again."""
    if wanted is None:
        return ALONE
    async with desk.database.begin(call.access.scope) as tx:
        if await idempotency.find(tx, call.claim) is not None:
            agreed: Agreed | Proposal = await proposal.begun(tx, wanted)
        else:
            agreed = await proposal.decided(tx, desk, call.access, wanted, reason)
    return proposal.carried_out(agreed)


def _to_owner(
    desk: Desk, call: Call, row: Invoice, name: str, argument: object, judge: Judge
) -> Update:
    return Update(
        workflow_id=invoice_workflow_id(row.id),
        name=name,
        argument=argument,
        id=update_id(call),
        refusal=_not_open(row.status),
        decided=partial(_decided, desk, call.access, row.id, judge),
        start_owner=partial(_start_owner, desk, call.access, row.id),
    )


async def _decided(desk: Desk, access: Access, invoice_id: str, judge: Judge) -> Decided | None:
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
    return judge(row.status, row.decisions)


def _not_open(status: InvoiceStatus) -> Rejected | None:
    if status in OPEN:
        return None
    refusal = AlreadyFinal if status in CLOSED else InvoiceNotIssued
    return refusal(f"The invoice is {status}.")


async def _charged(
    desk: Desk, access: Access, invoice_id: str, payments_before: int
) -> Seen[InvoiceRecord]:
    """Wait shortly for the charge that was asked for; final when it has ended, however. Without a
    card there is none to wait for: then nothing begins within the wait."""
    ends_at = time.monotonic() + desk.wait_seconds
    begun = False
    while True:
        async with desk.database.read(access.scope) as tx:
            seen = await record(tx, await found(tx, invoice_id))
        paid = seen.payments
        under_way = any(each.status not in FINAL for each in paid)
        closed = seen.invoice.closed_at is not None
        begun = begun or under_way or len(paid) > payments_before or closed
        waited = time.monotonic() > ends_at
        if waited or (begun and not under_way):
            return Seen(seen, not under_way)
        await asyncio.sleep(POLL_SECONDS)


async def _start_owner(desk: Desk, access: Access, invoice_id: str) -> bool:
    """Of an open invoice whose workflow is gone: nobody waits for the sweeper."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
    if row.status not in OPEN:
        return False
    request = invoice.request(row, desk.terms.dunning, desk.terms.waits)
    await start_invoice(desk.temporal, request)
    return True


async def _start_settlement(desk: Desk, access: Access, invoice_id: str) -> bool:
    """Of a draft that waits for approval, and whose workflow is gone."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
    if row.status is not InvoiceStatus.AWAITING_APPROVAL:
        return False
    await start_settlement(desk.temporal, desk.terms.settlement(row.customer_id, row.period))
    return True


async def found(tx: Transaction, invoice_id: str) -> Invoice:
    """The invoice; raises `NotFound`."""
    row = await invoice.find(tx, invoice_id)
    if row is None:
        raise NotFound(f"There is no invoice {invoice_id}.")
    return row


async def record(tx: Transaction, row: Invoice) -> InvoiceRecord:
    """Everything that callers see of an invoice."""
    [one] = await _records(tx, [row])
    return one


async def _records(tx: Transaction, rows: Sequence[Invoice]) -> list[InvoiceRecord]:
    ids = [row.id for row in rows]
    lines, payments = defaultdict(list), defaultdict(list)
    for line in await invoice.lines(tx, *ids):
        lines[line.invoice_id].append(line)
    for paid in await payment.of_payable(tx, *ids):
        payments[paid.payable_id].append(paid)
    return [InvoiceRecord(row, lines[row.id], payments[row.id]) for row in rows]


async def _seen(
    desk: Desk, access: Access, invoice_id: str, final: frozenset[InvoiceStatus] = CLOSED
) -> Seen[InvoiceRecord]:
    """As it stands now; in which statuses the answer stays."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, invoice_id)
        return Seen(await record(tx, row), row.status in final)
