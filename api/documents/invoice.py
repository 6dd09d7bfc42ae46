"""Invoices as callers see them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.fields import Currency, CustomerId, Document, Id
from domain.invoice import InvoiceStatus
from domain.pricing_snapshot import LineKind


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
