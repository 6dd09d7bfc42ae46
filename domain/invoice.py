"""An invoice: what a customer owes for a month, with the price list frozen into it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.audit import Actor
from domain.customer import PaymentMethod
from domain.decision import Decided, recorded
from domain.dunning import DunningPolicy, Ladder
from domain.event import JSON, Event, Origin, Topic
from domain.payment import PaymentOutcome, PaymentRequest
from domain.pricing_snapshot import PricedLine
from domain.waits import Waits
from domain.workflow_id import invoice_workflow_id


class InvoiceStatus(StrEnum):
    DRAFT = "DRAFT"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    REJECTED = "REJECTED"
    """Its usage is free again; the next settlement makes a new draft."""
    SKIPPED = "SKIPPED"
    """Nothing to pay and nothing to show, so it has no number. It keeps what its month has used of
    what is free; the next settlement of the month makes it anew."""
    ISSUED = "ISSUED"
    OVERDUE = "OVERDUE"
    PAID = "PAID"
    UNCOLLECTIBLE = "UNCOLLECTIBLE"
    """The ladder is at its end; a dead letter waits for an operator. It is still owed: it can be
    paid, also by card, until somebody writes it off."""
    WRITTEN_OFF = "WRITTEN_OFF"
    """It was owed: its month stays billed."""
    CANCELLED = "CANCELLED"
    """It should not have been issued: its month and its usage are free again."""


OPEN = frozenset({InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE, InvoiceStatus.UNCOLLECTIBLE})
"""Issued and owed: it has an owner, `invoice/{id}`."""

CLOSED = frozenset(
    {
        InvoiceStatus.PAID,
        InvoiceStatus.WRITTEN_OFF,
        InvoiceStatus.CANCELLED,
    }
)

GAVE_BACK = frozenset({InvoiceStatus.REJECTED, InvoiceStatus.CANCELLED})
"""Its month and its usage are free again; it counts for nothing in what was billed."""


@dataclass(frozen=True)
class InvoiceHead:
    """What everybody sees of an invoice beside its lines, a draft too: `number`, `issued_at` and
    `due_at` come with its issue. `checks` and `decisions` are kept in the order in which they came.
    """

    id: str
    number: int | None
    customer_id: str
    period: str
    currency: str
    total: int
    status: InvoiceStatus
    checks: tuple[Mapping[str, Any], ...]
    decisions: tuple[Mapping[str, str], ...]
    reason: str | None
    workflow_id: str
    retries: int
    next_attempt_at: datetime | None
    issued_at: datetime | None
    due_at: datetime | None
    closed_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Invoice(InvoiceHead):
    """An invoice as it stands. `snapshot` is what it bills and by which prices, as it was stored;
    `PricingSnapshot` reads it."""

    snapshot: dict[str, Any]
    run_id: str
    updated_at: datetime


@dataclass(frozen=True)
class OpenInvoice:
    """An issued invoice that is not closed: what its owner is started with."""

    id: str
    customer_id: str
    period: str
    currency: str
    total: int
    due_at: datetime


@dataclass(frozen=True)
class InvoiceLine(PricedLine):
    """A line as it stands on an invoice, by its place."""

    invoice_id: str
    position: int


@dataclass(frozen=True)
class InvoicePayment:
    """A payment of an invoice, as far as a list shows it."""

    id: str
    failure_code: str | None
    gateway_code: str | None


@dataclass(frozen=True)
class Wanted:
    """Which invoices somebody looks for; what is None does not matter. `since` and `until` are of
    when they were made."""

    customer_id: str | None = None
    status: InvoiceStatus | None = None
    period: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class ListedInvoice:
    """An invoice as lists show it, with its lines, and its payments, oldest first."""

    invoice: InvoiceHead
    lines: Sequence[InvoiceLine]
    payments: Sequence[InvoicePayment]


@dataclass(frozen=True)
class InvoiceState:
    """Which invoice or draft, and how it stands."""

    id: str
    status: InvoiceStatus


@dataclass(frozen=True)
class OpenDraft:
    """A draft that may still be issued, and one of the months that it has usage of, if any."""

    period: str
    status: InvoiceStatus
    month: str | None


AGES = ("not-due", "1-30", "31-60", "61-90", "over-90")
"""What the buckets below are called: days past due."""


@dataclass(frozen=True)
class AgedReceivables:
    """What is unpaid in a currency and an age: `bucket` 0 is not due, 1 up to 30 days past due,
    2 up to 60, 3 up to 90, 4 above."""

    currency: str
    bucket: int
    invoices: int
    amount: int


@dataclass(frozen=True)
class InvoiceRequest:
    """Input of InvoiceRetry, the owner of an issued invoice."""

    invoice_id: str
    customer_id: str
    period: str
    currency: str
    total: int
    due_at: datetime
    dunning: DunningPolicy = field(default_factory=DunningPolicy)
    waits: Waits = field(default_factory=Waits)


@dataclass(frozen=True)
class InvoiceCharge:
    """One attempt to collect an invoice, under an id made by the workflow; `payment_method_id`
    names the card, else it is the customer's default one."""

    invoice: InvoiceRequest
    payment_id: str
    payment_method_id: str | None = None


@dataclass(frozen=True)
class Chargeable:
    """An invoice with what it may be charged to. `prepaid`: from its customer's wallet first.
    `tried`: it has payments already."""

    invoice: Invoice
    prepaid: bool
    card: PaymentMethod | None
    tried: bool


@dataclass(frozen=True)
class OpenedInvoice:
    """Where a run of InvoiceRetry begins: an earlier one, ended by hand, may have been at work.

    `step` and `first_failure_at` say where its ladder stood, `last` how its last payment failed;
    `payment` is the one that is under way. Where nobody was at work, it is the first one.
    """

    status: InvoiceStatus
    step: int = 0
    first_failure_at: datetime | None = None
    last: PaymentOutcome | None = None
    payment: PaymentRequest | None = None

    def ladder(self, policy: DunningPolicy) -> Ladder:
        """Where its ladder stands: at the end once it was given up, whatever the policy is now."""
        stood = Ladder(policy, self.step, self.first_failure_at)
        return stood.at_its_end() if self.status is InvoiceStatus.UNCOLLECTIBLE else stood


@dataclass(frozen=True)
class OpenedCharge:
    """The payment to be made, or why there is none. Neither: the invoice is closed."""

    payment: PaymentRequest | None = None
    failure: PaymentOutcome | None = None


@dataclass(frozen=True)
class Closure:
    """How an invoice stands after it was to be closed. `payment` is under way, so it must end
    before."""

    status: InvoiceStatus
    payment: PaymentRequest | None = None


class Closing(StrEnum):
    """How an operator may close an invoice that nothing was charged for."""

    PAID_OUTSIDE = "paid-outside"
    WRITE_OFF = "write-off"
    CANCEL = "cancel"


CLOSES_AS = {
    Closing.PAID_OUTSIDE: InvoiceStatus.PAID,
    Closing.WRITE_OFF: InvoiceStatus.WRITTEN_OFF,
    Closing.CANCEL: InvoiceStatus.CANCELLED,
}


@dataclass(frozen=True)
class CloseRequest:
    """Who closes it, how, and why; the id is that of the Update that it came with. `actor` is kept
    with the invoice, `by` in the audit trail, with `persons` (`domain.proposal.Agreed`)."""

    closing: Closing
    reason: str
    actor: str
    update_id: str = ""
    by: Actor | None = None
    persons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClosedInvoice:
    """The end of an invoice as its owner writes it, or the end of its ladder (UNCOLLECTIBLE), which
    is `by` nobody."""

    invoice: InvoiceRequest
    status: InvoiceStatus
    reason: str
    actor: str
    update_id: str = ""
    by: Actor | None = None
    persons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """Where the ladder stands. `step` counts from 0; the customer is told once it is `overdue`."""

    invoice: InvoiceRequest
    step: int
    failure_code: str
    next_attempt_at: datetime | None
    overdue: bool = False


@dataclass(frozen=True)
class InvoiceOutcome:
    """Result of InvoiceRetry."""

    invoice_id: str
    status: InvoiceStatus


def closed(status: InvoiceStatus, decisions: Sequence[Mapping[str, str]]) -> Decided | None:
    """Who closed an invoice; one that a charge has paid was closed by nobody."""
    return recorded(decisions, status) or Decided(status, "") if status in CLOSED else None


def unpayable(status: InvoiceStatus, decisions: Sequence[Mapping[str, str]]) -> Decided | None:
    """Who closed it otherwise than by payment: whoever wanted it paid is content with that."""
    return None if status is InvoiceStatus.PAID else closed(status, decisions)


def created_event(invoice: InvoiceRequest, number: int) -> Event:
    """An invoice was issued."""
    more: dict[str, JSON] = {"number": number, "dueAt": invoice.due_at.isoformat()}
    return _event(Topic.INVOICE_CREATED, invoice, more)


def given_up(closed: ClosedInvoice, charges: int) -> ClosedInvoice:
    """The end of a ladder in words, where the reason was only the code of its last failure."""
    times = "1 charge" if charges == 1 else f"{charges} charges"
    tried = f"still not paid after {times}" if charges else "there was no card to charge"
    return replace(closed, reason=f"{tried}: {closed.reason}")


def paid_event(invoice_id: str, customer_id: str, data: dict[str, JSON]) -> Event:
    """An invoice was paid, by a payment or outside; `data` says which of the two, and neither when
    there was nothing to pay."""
    data = {"paymentId": None, "paidOutside": None, **data}
    return Event(Topic.INVOICE_PAID, invoice_id, customer_id, data, Origin())


def paid_without_payment_event(closed: ClosedInvoice) -> Event:
    """The money came another way, or there was nothing to pay."""
    issued = closed.invoice
    data: dict[str, JSON] = {
        "invoiceId": issued.invoice_id,
        "customerId": issued.customer_id,
        "currency": issued.currency,
        "total": issued.total,
        "paidOutside": closed.reason if issued.total else None,
    }
    return paid_event(issued.invoice_id, issued.customer_id, data)


def overdue_event(invoice: InvoiceRequest) -> Event:
    """The due date has passed; told once."""
    return _event(Topic.INVOICE_OVERDUE, invoice, {"dueAt": invoice.due_at.isoformat()})


def notice_event(notice: Notice) -> Event:
    """A step of the ladder failed after the due date."""
    when = notice.next_attempt_at
    more: dict[str, JSON] = {
        "step": notice.step,
        "failureCode": notice.failure_code,
        "nextAttemptAt": None if when is None else when.isoformat(),
    }
    return _event(Topic.OVERDUE_NOTICE, notice.invoice, more)


def dead_letter_event(closed: ClosedInvoice, attempts: Sequence[JSON]) -> Event:
    """An invoice that could not be collected, for an operator, with every attempt. Its id is that
    of the letter that waits in the database."""
    more: dict[str, JSON] = {
        "dueAt": closed.invoice.due_at.isoformat(),
        "reason": closed.reason,
        "attempts": list(attempts),
        "workflowId": invoice_workflow_id(closed.invoice.invoice_id),
    }
    return _event(Topic.OVERDUE_NOTICE_DLT, closed.invoice, more)


def _event(topic: Topic, invoice: InvoiceRequest, more: dict[str, JSON]) -> Event:
    data: dict[str, JSON] = {
        "invoiceId": invoice.invoice_id,
        "customerId": invoice.customer_id,
        "period": invoice.period,
        "currency": invoice.currency,
        "total": invoice.total,
        **more,
    }
    return Event(topic, invoice.invoice_id, invoice.customer_id, data, Origin())
