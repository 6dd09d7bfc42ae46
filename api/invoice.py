"""Invoices: what customers owe for their months, and what is done about them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api import cursor
from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Context, Lengthy, Replicated, Using
from api.cursor import MAX_LENGTH
from api.documents.invoice import (
    Arithmetic,
    Check,
    Invoice,
    InvoiceCrawl,
    InvoiceDecision,
    InvoiceLine,
    InvoicePage,
    Lineage,
    LineageLine,
    Recomputation,
)
from api.documents.usage import CountedEvents, Format, ResourceType
from api.fields import CUSTOMER_ID, Document, Id, Moment, Reason, utc
from api.idempotency import answer, keyed
from api.listing import Listing, page
from api.parameters import PathId
from api.usage import Month, counted
from api.usage_export import MEDIA_TYPES, file
from domain import invoice as rules
from domain.access import Access
from domain.invoice import Closing, InvoiceStatus, ListedInvoice
from domain.period import Period
from domain.pricing import Step, decimal_text
from domain.roles import Action
from domain.usage import Aggregate, Wanted
from domain.workflow_id import invoice_workflow_id
from service import invoice
from service.call import Call
from service.invoice import InvoiceRecord
from service.invoice import Lineage as FoundLineage
from service.page import Position

router = APIRouter(tags=["invoices"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/invoices/{}"
Size = Annotated[int, Query(ge=1, le=200)]
TAKEN: dict[int | str, dict[str, Any]] = {
    202: {"description": "Taken, and not over yet: ask its Location, or repeat."}
}
OfCustomer = Annotated[str | None, Query(alias="customerId", pattern=CUSTOMER_ID)]


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
    access: Annotated[Access, may(Action.INVOICE_READ)],
    context: Replicated,
    customer_id: OfCustomer = None,
    number: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1,
    size: Size = 20,
) -> InvoicePage:
    """Invoices by page, newest first. A crawl over all of them is better done with v2."""
    found = await invoice.page(context.desk, access, customer_id, number, size)
    items = [document(each) for each in found]
    return InvoicePage(items=items, page=number, size=size)


@router.get("/api/v2/invoices", response_model=InvoiceCrawl)
async def crawl_invoices(
    access: Annotated[Access, may(Action.INVOICE_READ)],
    context: Replicated,
    customer_id: OfCustomer = None,
    status: InvoiceStatus | None = None,
    period: Annotated[Month | None, Query()] = None,
    since: Annotated[Moment | None, Query(alias="from", description="Made from then on.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Made before then.")] = None,
    after: Annotated[str | None, Query(alias="cursor", max_length=MAX_LENGTH)] = None,
    size: Size = 100,
) -> InvoiceCrawl:
    """Invoices by cursor, oldest first. A cursor is good for the filter that it was made for, at
    any time: reading on from it, also after the end, doubles and misses nothing. What committed
    only after its place was passed comes with the page that follows, beyond `size`."""
    owner = access.whose(customer_id)
    secrets = context.settings.cursor_secrets
    wanted = rules.Wanted(owner, status, period, since, until)
    filters = {
        "customerId": owner,
        "status": status,
        "period": period,
        "from": None if since is None else utc(since).isoformat(),
        "to": None if until is None else utc(until).isoformat(),
    }
    place = None if after is None else cursor.decode(secrets, after, filters, Position)
    found, last = await invoice.crawl(context.desk, access, wanted, place, size)
    items = [document(each) for each in found]
    following = None if last is None else cursor.encode(secrets, last, filters)
    return InvoiceCrawl(items=items, nextCursor=following, hasMore=following is not None)


@router.get("/api/v1/invoices/{invoice_id}", response_model=Invoice)
async def get_invoice(
    invoice_id: PathId, access: Annotated[Access, may(Action.INVOICE_READ)], context: Using
) -> Invoice:
    """An invoice as it stands."""
    return document(await invoice.get(context.desk, access, invoice_id))


@router.get("/api/v1/invoices/{invoice_id}/lineage", response_model=Lineage)
async def get_invoice_lineage(
    invoice_id: PathId, access: Annotated[Access, may(Action.INVOICE_READ)], context: Using
) -> Lineage:
    """Every amount back to its events: aggregates, arithmetic, price list, workflow."""
    return lineage_document(await invoice.lineage(context.desk, access, invoice_id))


class EventListing(Listing):
    """By what the events of an invoice are found: `from` and `to` are of when they happened.
    `resourceType` and `period` together are those of one line."""

    resource_type: ResourceType | None = None
    period: Month | None = None


@router.get("/api/v1/invoices/{invoice_id}/lineage/events", response_model=CountedEvents)
async def list_invoice_events(
    invoice_id: PathId,
    asked: Annotated[EventListing, Query()],
    access: Annotated[Access, may(Action.INVOICE_READ)],
    context: Using,
) -> CountedEvents:
    """The very events that an invoice bills, what happened last first."""
    wanted = _wanted(asked.resource_type, asked.period)
    wanted = replace(wanted, since=asked.since, until=asked.until)
    find = partial(invoice.events, context.desk, access, invoice_id, wanted)
    of = (f"events of {invoice_id}", access.whose(None))
    return await page(context, asked, of, CountedEvents, find, counted)


@router.get(
    "/api/v1/invoices/{invoice_id}/lineage/events/export",
    response_class=Response,
    responses={
        200: {
            "description": "One event a line, what happened first first.",
            "content": {each: {"schema": {"type": "string"}} for each in MEDIA_TYPES.values()},
        }
    },
)
async def export_invoice_events(
    invoice_id: PathId,
    access: Annotated[Access, may(Action.INVOICE_READ)],
    context: Lengthy,
    form: Annotated[Format, Query(alias="format")] = Format.CSV,
    resource_type: Annotated[ResourceType | None, Query(alias="resourceType")] = None,
    period: Annotated[Month | None, Query()] = None,
) -> Response:
    """All events that an invoice bills, or those of a line, as a file: their quantities add up to
    those of its lines. It breaks off where they are taken from the invoice meanwhile."""
    wanted = _wanted(resource_type, period)
    batches = await invoice.exported(context.desk, access, invoice_id, wanted)
    return file(batches, form, f"events-{invoice_id}")


def _wanted(resource_type: str | None, period: str | None) -> Wanted:
    month = None if period is None else Period.parse(period)
    return Wanted(resource_type=resource_type, period=month)


@router.get("/api/v1/invoices/{invoice_id}/recomputation", response_model=Recomputation)
async def recompute_invoice(
    invoice_id: PathId, access: Annotated[Access, may(Action.INVOICE_VERIFY)], context: Lengthy
) -> Recomputation:
    """Compute it again from the raw events and the price list that is frozen into it. That of a
    large customer takes long."""
    row, differing = await invoice.recomputed(context.desk, access, invoice_id)
    return Recomputation(
        invoiceId=row.id,
        currency=row.currency,
        total=row.total,
        equal=not differing,
        differences=differing,
    )


@router.post("/api/v1/invoices/{invoice_id}/pay", response_model=Invoice, responses=TAKEN)
async def pay_invoice(
    invoice_id: PathId,
    call: Annotated[Call, keyed(Action.INVOICE_PAY)],
    context: Using,
    body: NewPay | None = None,
) -> Response:
    """Charge now instead of at the next step of the ladder; with another card if one is named. The
    answer is final when that charge has ended: the invoice is PAID, or waits for its next step."""
    method_id = None if body is None else body.payment_method_id
    paid = await invoice.pay(context.desk, call, invoice_id, method_id)
    return await answer(context, call, paid, document, LOCATION, status=200)


@router.post("/api/v1/invoices/{invoice_id}/paid-outside", response_model=Invoice, responses=TAKEN)
async def mark_paid_outside(
    invoice_id: PathId,
    body: NewDecision,
    call: Annotated[Call, keyed(Action.INVOICE_CLOSE)],
    context: Using,
) -> Response:
    """The money came another way, e.g. by bank transfer."""
    return await _close(context, call, invoice_id, Closing.PAID_OUTSIDE, body.reason)


@router.post("/api/v1/invoices/{invoice_id}/write-off", response_model=Invoice, responses=TAKEN)
async def write_off_invoice(
    invoice_id: PathId,
    body: NewDecision,
    call: Annotated[Call, keyed(Action.INVOICE_CLOSE)],
    context: Using,
) -> Response:
    """Give it up: nothing is charged any more."""
    return await _close(context, call, invoice_id, Closing.WRITE_OFF, body.reason)


@router.post("/api/v1/invoices/{invoice_id}/cancel", response_model=Invoice, responses=TAKEN)
async def cancel_invoice(
    invoice_id: PathId,
    body: NewDecision,
    call: Annotated[Call, keyed(Action.INVOICE_CLOSE)],
    context: Using,
) -> Response:
    """It should not have been issued: its month and its usage are free again."""
    return await _close(context, call, invoice_id, Closing.CANCEL, body.reason)


@router.post("/api/v1/invoices/{invoice_id}/approve", response_model=Invoice, responses=TAKEN)
async def approve_invoice(
    invoice_id: PathId,
    body: NewDecision,
    call: Annotated[Call, keyed(Action.INVOICE_DECIDE)],
    context: Using,
) -> Response:
    """Let a draft that waits be issued."""
    return await _decide(context, call, invoice_id, approved=True, reason=body.reason)


@router.post("/api/v1/invoices/{invoice_id}/reject", response_model=Invoice, responses=TAKEN)
async def reject_invoice(
    invoice_id: PathId,
    body: NewDecision,
    call: Annotated[Call, keyed(Action.INVOICE_DECIDE)],
    context: Using,
) -> Response:
    """Throw a draft that waits away: its usage is free again, another settlement drafts anew."""
    return await _decide(context, call, invoice_id, approved=False, reason=body.reason)


async def _close(
    context: Context, call: Call, invoice_id: str, closing: Closing, reason: str
) -> Response:
    closed = await invoice.close(context.desk, call, invoice_id, closing, reason)
    return await answer(context, call, closed, document, LOCATION, status=200)


async def _decide(
    context: Context, call: Call, invoice_id: str, *, approved: bool, reason: str
) -> Response:
    decided = await invoice.decide(context.desk, call, invoice_id, approved=approved, reason=reason)
    return await answer(context, call, decided, document, LOCATION, status=200)


def document(found: InvoiceRecord | ListedInvoice) -> Invoice:
    """The invoice as callers see it."""
    row, payments = found.invoice, found.payments
    return Invoice(
        id=row.id,
        number=row.number,
        customerId=row.customer_id,
        period=row.period,
        currency=row.currency,
        total=row.total,
        status=row.status,
        reason=row.reason,
        retries=row.retries,
        nextAttemptAt=_utc(row.next_attempt_at),
        failureCode=payments[-1].failure_code if payments else None,
        gatewayCode=payments[-1].gateway_code if payments else None,
        issuedAt=_utc(row.issued_at),
        dueAt=_utc(row.due_at),
        closedAt=_utc(row.closed_at),
        lines=[_line(line) for line in found.lines],
        checks=[Check(**check) for check in row.checks],
        decisions=[_decision(each) for each in row.decisions],
        paymentIds=[paid.id for paid in payments],
        workflowId=invoice_workflow_id(row.id) if row.number else row.workflow_id,
        createdAt=utc(row.created_at),
    )


def _decision(kept: Mapping[str, str]) -> InvoiceDecision:
    names = ("at", "actor", "decision", "reason")
    return InvoiceDecision(**{name: kept[name] for name in names})


def _line(row: rules.InvoiceLine) -> InvoiceLine:
    return InvoiceLine(
        kind=row.kind,
        resourceType=row.resource_type,
        period=str(row.period),
        quantity=decimal_text(row.quantity),
        amount=row.amount,
        steps=[_arithmetic(step) for step in row.steps],
    )


def _arithmetic(step: Step) -> Arithmetic:
    return Arithmetic(
        label=step.label,
        quantity=decimal_text(step.quantity),
        unitPrice=decimal_text(step.unit_price),
        amount=decimal_text(step.amount),
    )


def lineage_document(found: FoundLineage) -> Lineage:
    """From every line back to its events."""
    row, aggregates = found.record.invoice, found.aggregates
    lines = [
        _lineage(line, aggregates.get((line.resource_type, line.period)))
        for line in found.record.lines
    ]
    return Lineage(
        invoiceId=row.id,
        lines=lines,
        snapshot=row.snapshot,
        workflowId=row.workflow_id,
        runId=row.run_id,
    )


def _lineage(line: rules.InvoiceLine, aggregate: Aggregate | None) -> LineageLine:
    return LineageLine(
        line=_line(line),
        events=None if aggregate is None else aggregate.events,
        counted=None if aggregate is None else decimal_text(aggregate.quantity),
        firstAt=None if aggregate is None else utc(aggregate.first_at),
        lastAt=None if aggregate is None else utc(aggregate.last_at),
        digest=None if aggregate is None else aggregate.digest,
    )


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)
