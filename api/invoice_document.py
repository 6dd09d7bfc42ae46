"""Invoices as callers see them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.fields import Currency, CustomerId, Document, Id, utc
from domain import invoice as rules
from domain.invoice import InvoiceStatus, ListedInvoice
from domain.pricing import Step, decimal_text
from domain.pricing_snapshot import LineKind
from domain.usage import Aggregate
from domain.workflow_id import invoice_workflow_id
from service.invoice import InvoiceRecord
from service.invoice import Lineage as FoundLineage


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
    has_more: Annotated[bool, Field(description="Whether a page may follow.")]


class LineageLine(Document):
    """Where a line comes from: `digest` is the SHA-256 of the event ids, a line feed after each."""

    line: InvoiceLine
    events: int | None
    counted: Annotated[str | None, Field(description="What the events come to.")]
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


class Recomputation(Document):
    """Whether an invoice is what its events and its price list say."""

    invoice_id: Id
    currency: Currency
    total: Annotated[int, Field(description="As billed.")]
    equal: bool
    differences: Annotated[
        list[str],
        Field(
            description="One sentence each; empty when nowhere.",
            examples=[["The lines come to 1000, but the total is 1001."]],
        ),
    ]


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
