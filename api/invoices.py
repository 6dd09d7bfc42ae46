"""Invoices: what customers owe for their months, and what is done about them."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, Field
from sqlalchemy import Row

from api import cursors
from api.access import CUSTOMER_ID, Access, Anybody, CustomerOrOperator, Operator, Role
from api.bodies import StrictJSONRoute
from api.context import Context, Using
from api.cursors import MAX_LENGTH, Position
from api.fields import Currency, CustomerId, Document, Id, Moment, PathId, Reason, rendered, utc
from api.idempotency import Keyed, KeyedRequest, View
from api.updates import Handover, hand_over, unless
from domain.decision import Decided
from domain.errors import AlreadyFinal, InvoiceNotIssued, NotFound, PaymentMethodMissing, Rejected
from domain.invoice import CLOSED, OPEN, CloseRequest, Closing, InvoiceStatus, closed, unpayable
from domain.payment import FINAL, PaymentStatus
from domain.pricing import decimal_text
from domain.pricing_snapshot import LineKind
from domain.settlement import Verdict, judged
from runtime.starts import start_invoice, start_settlement
from store import customer, invoice, payment
from store.database import Transaction
from store.seen import seen
from workflows.invoice_retry import invoice_workflow_id

router = APIRouter(tags=["invoices"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/invoices/{}"
Size = Annotated[int, Query(ge=1, le=200)]
TAKEN: dict[int | str, dict[str, Any]] = {
    202: {"description": "Taken, and not over yet: ask its Location, or repeat."}
}
OfCustomer = Annotated[str | None, Query(alias="customerId", pattern=CUSTOMER_ID)]


class Arithmetic(Document):
    """`quantity` × `unitPrice` = `amount`; decimals as strings, in minor units."""

    label: Annotated[str, Field(examples=["tier 1"])]
    quantity: str
    unit_price: str
    amount: str


class InvoiceLine(Document):
    """One line. `period` is the month of the usage; a late line names an earlier one."""

    kind: LineKind
    resource_type: str | None
    period: Annotated[str, Field(examples=["2026-05"])]
    quantity: str
    amount: int
    steps: list[Arithmetic]


class Check(Document):
    """A quality check that was made before issuing."""

    name: str
    passed: bool
    blocking: bool
    detail: str


class InvoiceDecision(Document):
    """Who decided what about the invoice, and why."""

    at: datetime
    actor: str
    decision: str
    reason: str


class Invoice(Document):
    """An invoice, from draft to closed. Amounts in minor units."""

    id: Id
    number: Annotated[int | None, Field(description="Without gaps; None until issued.")]
    customer_id: CustomerId
    period: Annotated[str, Field(examples=["2026-05"])]
    currency: Currency
    total: int
    status: InvoiceStatus
    reason: Annotated[str | None, Field(description="Why a draft waits or is stopped.")]
    retries: Annotated[int, Field(description="Steps of the dunning ladder that have passed.")]
    next_attempt_at: datetime | None
    failure_code: Annotated[
        str | None, Field(description="Why the last charge failed, in our terms.")
    ]
    gateway_code: Annotated[str | None, Field(description="The same in the PG's terms.")]
    issued_at: datetime | None
    due_at: datetime | None
    closed_at: datetime | None
    lines: list[InvoiceLine]
    checks: list[Check]
    decisions: list[InvoiceDecision]
    payment_ids: list[Id]
    workflow_id: str
    created_at: datetime


class InvoicePage(Document):
    """By number of page, newest first."""

    items: list[Invoice]
    page: int
    size: int


class InvoiceCrawl(Document):
    """By cursor, oldest first: nothing is doubled or missed while invoices are added."""

    items: list[Invoice]
    next_cursor: Annotated[str | None, Field(description="For the next page; None at the end.")]


class LineageLine(Document):
    """Where a line comes from: `digest` is the SHA-256 of the event ids, a line feed after each."""

    line: InvoiceLine
    events: int | None
    first_at: datetime | None
    last_at: datetime | None
    digest: str | None


class Lineage(Document):
    """From every line back to the events, the price list and the workflow that made it."""

    invoice_id: Id
    lines: list[LineageLine]
    snapshot: dict[str, Any]
    workflow_id: str
    run_id: str


class NewPay(Document):
    """Which card to charge now."""

    payment_method_id: Annotated[
        Id | None, Field(description="The customer's default card without it.")
    ] = None


class NewDecision(Document):
    """Why, for whoever reads it later."""

    reason: Reason


@router.get("/api/v1/invoices", response_model=InvoicePage)
async def list_invoices(
    access: Anybody,
    context: Using,
    customer_id: OfCustomer = None,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    size: Size = 20,
) -> InvoicePage:
    """Invoices by page, newest first. A crawl over all of them is better done with v2."""
    owner = _owner(access, customer_id)
    async with context.reads.connect() as tx:
        rows = await invoice.page(tx, owner, (page - 1) * size, size)
        items = await documents(tx, rows)
    return InvoicePage(items=items, page=page, size=size)


@router.get("/api/v2/invoices", response_model=InvoiceCrawl)
async def crawl_invoices(
    access: Anybody,
    context: Using,
    customer_id: OfCustomer = None,
    status: InvoiceStatus | None = None,
    cursor: Annotated[str | None, Query(max_length=MAX_LENGTH)] = None,
    size: Size = 100,
) -> InvoiceCrawl:
    """Invoices by cursor, oldest first. A cursor is good for the filter that it was made for, at
    any time: reading on from it, also after the end, doubles and misses nothing. What committed
    only after its place was passed comes with the page that follows, beyond `size`."""
    owner = _owner(access, customer_id)
    secret = context.settings.cursor_secret.get_secret_value()
    filters = {"customerId": owner, "status": status}
    place = None if cursor is None else cursors.decode(secret, cursor, filters, Position)
    async with context.reads.connect() as tx:
        rows, last = await _page(tx, owner, status, place, size)
        items = await documents(tx, rows)
    following = None if last is None else cursors.encode(secret, last, filters)
    return InvoiceCrawl(items=items, nextCursor=following)


async def _page(
    tx: Transaction,
    owner: str | None,
    status: InvoiceStatus | None,
    place: Position | None,
    size: int,
) -> tuple[list[Row[Any]], Position | None]:
    """The rows after a place, with what came late before it, and the place after them; None at the
    end."""
    if place is None:
        late: Sequence[Row[Any]] = ()
        rows = await invoice.after(tx, owner, status, None, size)
    else:
        at = (place.created_at, place.id)
        late = await invoice.came_late(tx, owner, status, at, place.seen)
        rows = await invoice.after(tx, owner, status, at, size)
    if len(rows) < size:
        return [*late, *rows], None
    return [*late, *rows], Position(rows[-1].created_at, rows[-1].id, await seen(tx))


@router.get("/api/v1/invoices/{invoice_id}", response_model=Invoice)
async def get_invoice(invoice_id: PathId, access: Anybody, context: Using) -> Invoice:
    """An invoice as it stands."""
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
        access.require(row.customer_id)
        return await document(tx, row)


@router.get("/api/v1/invoices/{invoice_id}/lineage", response_model=Lineage)
async def get_lineage(invoice_id: PathId, access: Anybody, context: Using) -> Lineage:
    """Every amount back to its events: aggregates, arithmetic, price list, workflow."""
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
        access.require(row.customer_id)
        aggregates = {
            (each.resource_type, each.period): each for each in await invoice.aggregates(tx, row.id)
        }
        lines = [
            _lineage(line, aggregates.get((line.resource_type, line.period)))
            for line in await invoice.lines(tx, row.id)
        ]
    return Lineage(
        invoiceId=row.id,
        lines=lines,
        snapshot=row.snapshot,
        workflowId=row.workflow_id,
        runId=row.run_id,
    )


@router.post("/api/v1/invoices/{invoice_id}/pay", response_model=Invoice, responses=TAKEN)
async def pay_invoice(
    invoice_id: PathId,
    keyed: KeyedRequest,
    access: CustomerOrOperator,
    context: Using,
    body: NewPay | None = None,
) -> Response:
    """Charge now instead of at the next step of the ladder; with another card if one is named. The
    answer is final when that charge has ended: the invoice is PAID, or waits for its next step."""
    method_id = None if body is None else body.payment_method_id
    await _require_card(context, access, invoice_id, method_id)
    return await _to_owner(context, keyed, invoice_id, "pay", method_id, unpayable, True)


@router.post("/api/v1/invoices/{invoice_id}/paid-outside", response_model=Invoice, responses=TAKEN)
async def mark_paid_outside(
    invoice_id: PathId, body: NewDecision, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """The money came another way, e.g. by bank transfer."""
    return await _close(context, keyed, invoice_id, Closing.PAID_OUTSIDE, body.reason)


@router.post("/api/v1/invoices/{invoice_id}/write-off", response_model=Invoice, responses=TAKEN)
async def write_off_invoice(
    invoice_id: PathId, body: NewDecision, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """Give it up: nothing is charged any more."""
    return await _close(context, keyed, invoice_id, Closing.WRITE_OFF, body.reason)


@router.post("/api/v1/invoices/{invoice_id}/cancel", response_model=Invoice, responses=TAKEN)
async def cancel_invoice(
    invoice_id: PathId, body: NewDecision, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """It should not have been issued: its month and its usage are free again."""
    return await _close(context, keyed, invoice_id, Closing.CANCEL, body.reason)


@router.post("/api/v1/invoices/{invoice_id}/approve", response_model=Invoice, responses=TAKEN)
async def approve_invoice(
    invoice_id: PathId, body: NewDecision, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """Let a draft that waits be issued."""
    return await _decide(context, keyed, invoice_id, approved=True, reason=body.reason)


@router.post("/api/v1/invoices/{invoice_id}/reject", response_model=Invoice, responses=TAKEN)
async def reject_invoice(
    invoice_id: PathId, body: NewDecision, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """Throw a draft that waits away: its usage is free again, another settlement drafts anew."""
    return await _decide(context, keyed, invoice_id, approved=False, reason=body.reason)


def _end_of_day(moment: object) -> object:
    is_date = isinstance(moment, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", moment)
    return f"{moment}T23:59:59.999999Z" if is_date else moment


class Bucket(Document):
    """Unpaid invoices of one currency by the days that they are past due."""

    currency: Currency
    bucket: Annotated[str, Field(examples=["1-30"])]
    invoices: int
    amount: int


@router.get("/api/v1/aged-receivables", response_model=list[Bucket])
async def get_aged_receivables(
    access: Operator,
    context: Using,
    as_of: Annotated[
        Annotated[Moment, BeforeValidator(_end_of_day)] | None,
        Query(
            alias="asOf",
            description="A moment, or a date: then its end in UTC. Default now.",
            examples=["2026-05-31"],
        ),
    ] = None,
) -> list[Bucket]:
    """What was issued and unpaid at a moment, by age and currency."""
    async with context.reads.connect() as tx:
        rows = await invoice.receivables(tx, as_of or datetime.now(UTC))
    return [
        Bucket(currency=currency, bucket=BUCKETS[int(bucket)], invoices=count, amount=int(amount))
        for currency, bucket, count, amount in rows
    ]


Decision = Callable[[InvoiceStatus, Sequence[Mapping[str, str]]], Decided | None]
"""What was decided, by an invoice's status and the decisions that are kept with it."""

DECIDED = frozenset(InvoiceStatus) - {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL}
BUCKETS = ("current", "1-30", "31-60", "61-90", "90+")
POLL_SECONDS = 0.03


async def found(tx: Transaction, invoice_id: str) -> Row[Any]:
    """The invoice's row; raises `NotFound`."""
    row = await invoice.find(tx, invoice_id)
    if row is None:
        raise NotFound(f"There is no invoice {invoice_id}.")
    return row


async def view(context: Context, invoice_id: str, final: frozenset[InvoiceStatus]) -> View:
    """The invoice as it would be answered now; in which statuses the answer stays."""
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
        return View(InvoiceStatus(row.status) in final, rendered(await document(tx, row)))


async def _require_card(
    context: Context, access: Access, invoice_id: str, payment_method_id: str | None
) -> None:
    """Raise `PaymentMethodMissing` where the card that is named, or any that could be charged, is
    not there; a prepaid customer's wallet may be enough."""
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
        access.require(row.customer_id)
        card = await customer.payment_method(tx, row.customer_id, payment_method_id)
        whose: Any = await customer.find(tx, row.customer_id)
    if card is None and payment_method_id is not None:
        raise PaymentMethodMissing(f"{row.customer_id} has no such card; add one first.")
    if card is None and row.status in OPEN and not whose.prepaid:
        raise PaymentMethodMissing(f"{row.customer_id} has no card; add one first.")


async def _to_owner(
    context: Context,
    keyed: Keyed,
    invoice_id: str,
    update: str,
    argument: object,
    decided: Decision,
    waits_for_charge: bool = False,
) -> Response:
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
        paid = await payment.of_payable(tx, invoice_id)
    keyed.access.require(row.customer_id)
    handover = Handover(
        resource_id=row.id,
        workflow_id=invoice_workflow_id(row.id),
        update=update,
        argument=argument,
        refusal=_not_open(InvoiceStatus(row.status)),
        view=partial(view, context, row.id, CLOSED),
        decided=partial(_decided, context, row.id, decided),
        location=LOCATION.format(row.id),
        outcome=partial(_charged, context, row.id, len(paid)) if waits_for_charge else None,
        start_owner=partial(_start_owner, context, row.id),
    )
    return await hand_over(context, keyed, handover)


async def _decided(context: Context, invoice_id: str, decided: Decision) -> Decided | None:
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
    return decided(InvoiceStatus(row.status), row.decisions)


def _not_open(status: InvoiceStatus) -> Rejected | None:
    if status in OPEN:
        return None
    refusal = AlreadyFinal if status in CLOSED else InvoiceNotIssued
    return refusal(f"The invoice is {status}.")


async def _charged(context: Context, invoice_id: str, payments_before: int) -> View:
    """Wait shortly for the charge that was asked for; final when it has ended, however. Without a
    card there is none to wait for: then nothing begins within the wait."""
    ends_at = time.monotonic() + context.settings.api_wait_seconds
    begun = False
    while True:
        async with context.reads.connect() as tx:
            row = await found(tx, invoice_id)
            paid = await payment.of_payable(tx, invoice_id)
        under_way = any(PaymentStatus(each.status) not in FINAL for each in paid)
        begun = begun or under_way or len(paid) > payments_before or row.closed_at is not None
        waited = time.monotonic() > ends_at
        if waited or (begun and not under_way):
            break
        await asyncio.sleep(POLL_SECONDS)
    seen = await view(context, invoice_id, CLOSED)
    return View(not under_way, seen.body)


async def _start_owner(context: Context, invoice_id: str) -> bool:
    """Of an open invoice whose workflow is gone: nobody waits for the sweeper."""
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
    if InvoiceStatus(row.status) not in OPEN:
        return False
    owed = invoice.request(row, context.terms.dunning, context.terms.waits)
    await start_invoice(context.temporal, owed)
    return True


async def _close(
    context: Context, keyed: Keyed, invoice_id: str, closing: Closing, reason: str
) -> Response:
    request = CloseRequest(closing, reason, keyed.access.caller)
    return await _to_owner(context, keyed, invoice_id, "close", request, closed)


async def _decide(
    context: Context, keyed: Keyed, invoice_id: str, *, approved: bool, reason: str
) -> Response:
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
    handover = Handover(
        resource_id=row.id,
        workflow_id=row.workflow_id,
        update="decide",
        argument=Verdict(approved, reason, keyed.access.caller),
        refusal=unless(row.status, InvoiceStatus.AWAITING_APPROVAL),
        view=partial(view, context, row.id, DECIDED),
        decided=partial(_decided, context, row.id, judged),
        location=LOCATION.format(row.id),
        start_owner=partial(_start_settlement, context, row.id),
    )
    return await hand_over(context, keyed, handover)


async def _start_settlement(context: Context, invoice_id: str) -> bool:
    """Of a draft that waits for approval, and whose workflow is gone."""
    async with context.reads.connect() as tx:
        row = await found(tx, invoice_id)
    if row.status != InvoiceStatus.AWAITING_APPROVAL:
        return False
    request = context.terms.settlement(row.customer_id, row.period)
    await start_settlement(context.temporal, request)
    return True


def _owner(access: Access, customer_id: str | None) -> str | None:
    """Whose invoices: a customer sees its own, others all unless they name one."""
    if customer_id is None and access.roles & {Role.SERVICE, Role.OPERATOR}:
        return None
    owner = customer_id or access.customer_id
    access.require(owner)
    return owner


async def documents(tx: Transaction, rows: Sequence[Row[Any]]) -> list[Invoice]:
    """The invoices as callers see them."""
    ids = [row.id for row in rows]
    lines, payments = defaultdict(list), defaultdict(list)
    for line in await invoice.lines(tx, *ids):
        lines[line.invoice_id].append(line)
    for paid in await payment.of_payable(tx, *ids):
        payments[paid.payable_id].append(paid)
    return [_document(row, lines[row.id], payments[row.id]) for row in rows]


async def document(tx: Transaction, row: Row[Any]) -> Invoice:
    """One of them."""
    [found] = await documents(tx, [row])
    return found


def _document(row: Row[Any], lines: Sequence[Row[Any]], payments: Sequence[Row[Any]]) -> Invoice:
    return Invoice(
        id=row.id,
        number=row.number,
        customerId=row.customer_id,
        period=row.period,
        currency=row.currency,
        total=row.total,
        status=InvoiceStatus(row.status),
        reason=row.reason,
        retries=row.retries,
        nextAttemptAt=_utc(row.next_attempt_at),
        failureCode=payments[-1].failure_code if payments else None,
        gatewayCode=payments[-1].gateway_code if payments else None,
        issuedAt=_utc(row.issued_at),
        dueAt=_utc(row.due_at),
        closedAt=_utc(row.closed_at),
        lines=[_line(line) for line in lines],
        checks=[Check(**check) for check in row.checks],
        decisions=[_decision(each) for each in row.decisions],
        paymentIds=[paid.id for paid in payments],
        workflowId=invoice_workflow_id(row.id) if row.number else row.workflow_id,
        createdAt=utc(row.created_at),
    )


def _decision(kept: Mapping[str, str]) -> InvoiceDecision:
    names = ("at", "actor", "decision", "reason")
    return InvoiceDecision(**{name: kept[name] for name in names})


def _line(row: Row[Any]) -> InvoiceLine:
    return InvoiceLine(
        kind=LineKind(row.kind),
        resourceType=row.resource_type,
        period=row.period,
        quantity=decimal_text(row.quantity),
        amount=row.amount,
        steps=[_arithmetic(step) for step in row.steps],
    )


def _arithmetic(step: Mapping[str, str]) -> Arithmetic:
    names = ("quantity", "unitPrice", "amount")
    return Arithmetic(label=step["label"], **{n: decimal_text(Decimal(step[n])) for n in names})


def _lineage(line: Row[Any], aggregate: Row[Any] | None) -> LineageLine:
    return LineageLine(
        line=_line(line),
        events=None if aggregate is None else aggregate.events,
        firstAt=None if aggregate is None else utc(aggregate.first_at),
        lastAt=None if aggregate is None else utc(aggregate.last_at),
        digest=None if aggregate is None else aggregate.digest,
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)
