"""Settlement: closing one customer's month into an invoice."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.approval import ApprovalPolicy, Verdict
from domain.dunning import DunningPolicy
from domain.invoice import InvoiceRequest
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
