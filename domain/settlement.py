"""Settlement: closing one customer's month into an invoice."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from domain.approval import ApprovalPolicy, Verdict
from domain.dunning import DunningPolicy
from domain.event import JSON, Event, Origin, Topic
from domain.invoice import GAVE_BACK, Invoice, InvoiceRequest, InvoiceStatus
from domain.period import Period
from domain.pricing_snapshot import PricingSnapshot, price_invoice, says_nothing
from domain.waits import Waits


class SettlementStatus(StrEnum):
    """How the settlement of a customer's month ended, as far as it has."""

    RUNNING = "RUNNING"
    SETTLED = "SETTLED"
    SKIPPED = "SKIPPED"
    """Nothing to pay and nothing to show: no invoice."""
    NOT_OVER = "NOT_OVER"
    """By the customer's own clock the month lasts; it is settled by itself when it is over."""
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    """Its invoice was cancelled afterwards: the month can be settled again."""
    FAILED = "FAILED"


HANDED_OVER = frozenset(SettlementStatus) - {SettlementStatus.RUNNING}
"""A run waits for nothing more: the customer is done, failed, or waits for something itself."""


WAITING = frozenset({SettlementStatus.NOT_OVER, SettlementStatus.AWAITING_APPROVAL})
"""For the end of its month, or for a person."""

UNSETTLED = frozenset({SettlementStatus.FAILED, SettlementStatus.RUNNING})
"""Its month has neither an invoice nor a reason to have none, and waits for nothing."""

ENDED = frozenset({SettlementStatus.SKIPPED, SettlementStatus.FAILED})
"""With the draft: there is nothing to issue."""

INSTEAD = {
    SettlementStatus.SKIPPED: "what was used is free",
    SettlementStatus.REJECTED: "it was rejected before",
}
"""Why a draft is not issued."""


@dataclass(frozen=True)
class SettlementRequest:
    """Input of MonthlySettlement; `run` is the run's workflow id, if it belongs to one."""

    customer_id: str
    period: str
    run: str | None = None
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    dunning: DunningPolicy = field(default_factory=DunningPolicy)
    waits: Waits = field(default_factory=Waits)


@dataclass(frozen=True)
class RecordedSettlement:
    """How the settlement of a customer's month stands."""

    period: str
    customer_id: str
    status: SettlementStatus
    reason: str | None
    invoice_id: str | None


@dataclass(frozen=True)
class Wanted:
    """Which settlements somebody looks for; what is None does not matter."""

    customer_id: str | None = None
    period: str | None = None
    status: SettlementStatus | None = None


@dataclass(frozen=True)
class OpenMonth:
    """A customer's month whose settlement has not ended. `id` orders those of one kind."""

    id: str
    customer_id: str
    period: str


@dataclass(frozen=True)
class Drafted:
    """What drafting found or made. `invoice_id` is None when there is nothing to bill."""

    status: SettlementStatus
    invoice_id: str | None = None
    total: int = 0
    currency: str = ""
    reason: str | None = None
    """Why it waits, or why it failed."""
    waiting_since: datetime | None = None
    """When an earlier run handed it to a person: whoever waits now does not begin anew."""
    not_before: datetime | None = None
    """When the month will be over by the customer's own clock."""


@dataclass(frozen=True)
class DecidedDraft:
    """A draft with the decision about it; None where none was needed."""

    settlement: SettlementRequest
    invoice_id: str
    verdict: Verdict | None = None


@dataclass(frozen=True)
class EndedSettlement:
    """What the run report shows of a customer."""

    settlement: SettlementRequest
    status: SettlementStatus
    reason: str | None = None
    invoice_id: str | None = None


@dataclass(frozen=True)
class SettlementOutcome:
    """Result of MonthlySettlement, and what it tells its run."""

    customer_id: str
    status: SettlementStatus
    invoice_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Issued:
    """An issued invoice and its owner's input."""

    invoice: InvoiceRequest
    number: int


def not_over(period: Period, ends_at: datetime) -> Drafted:
    """The month lasts by its customer's own clock."""
    reason = f"{period} lasts until {ends_at.isoformat()}"
    return Drafted(SettlementStatus.NOT_OVER, reason=reason, not_before=ends_at)


def found(invoice: Invoice) -> Drafted:
    """What a draft has become already."""
    drafted = Drafted(
        SettlementStatus.SETTLED, invoice.id, invoice.total, invoice.currency, invoice.reason
    )
    if invoice.status is not InvoiceStatus.AWAITING_APPROVAL:
        return drafted
    waits = SettlementStatus.AWAITING_APPROVAL
    return replace(drafted, status=waits, waiting_since=invoice.updated_at)


def not_issued(draft: Invoice) -> SettlementStatus | None:
    """How it stands instead: REJECTED, or SKIPPED where there is nothing to pay and nothing to
    show. None: it is to be issued, or was."""
    if draft.status is InvoiceStatus.REJECTED:
        return SettlementStatus.REJECTED
    if draft.number is not None or draft.status in GAVE_BACK:
        return None
    lines = price_invoice(PricingSnapshot.from_json(draft.snapshot)).lines
    return SettlementStatus.SKIPPED if says_nothing(lines) else None


def completed_event(owed: InvoiceRequest) -> Event:
    """A month has become an invoice."""
    data: dict[str, JSON] = {
        "customerId": owed.customer_id,
        "period": owed.period,
        "invoiceId": owed.invoice_id,
        "currency": owed.currency,
        "total": owed.total,
    }
    topic = Topic.SETTLEMENT_COMPLETED
    return Event(topic, owed.invoice_id, owed.customer_id, data, Origin())
