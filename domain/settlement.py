"""Settlement: closing one customer's month into an invoice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from domain.decision import Decided, recorded
from domain.invoice import DunningPolicy, InvoiceRequest, InvoiceStatus
from domain.money import format_amount
from domain.pricing import ZERO, decimal_text
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


class DeadlineEffect(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True)
class ApprovalPolicy:
    """When a person must look at a draft, and what happens when nobody does.

    `thresholds`: largest total per currency (minor units) that is issued without a person; none in
    a currency that is not named.
    `anomaly_factor`: usage that is so many times more, or less, than its trailing mean.
    """

    thresholds: Mapping[str, int] = field(
        default_factory=lambda: {"KRW": 10_000_000, "USD": 1_000_000, "EUR": 1_000_000}
    )
    anomaly_factor: int = 5
    remind_after: timedelta = timedelta(days=1)
    escalate_after: timedelta = timedelta(days=3)
    deadline: timedelta = timedelta(days=7)
    at_deadline: DeadlineEffect = DeadlineEffect.REJECT


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
class RunRequest:
    """Input of SettlementRun. `customers`: only these (a replay), else everybody.

    `ask_again`: should a child's signal be lost, its row is asked so often. `patience`: a customer
    that is not done by then goes on alone, so that those who are stuck do not fill the window.
    `per_execution`: customers that are started before the run continues as a new execution, which
    takes over what stands below it.
    """

    period: str
    customers: tuple[str, ...] | None = None
    concurrency: int = 20
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    dunning: DunningPolicy = field(default_factory=DunningPolicy)
    waits: Waits = field(default_factory=Waits)
    ask_again: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(minutes=15)
    per_execution: int = 1_000
    after: str | None = None
    total: int | None = None
    began: datetime | None = None
    started: int = 0
    finished: int = 0
    left_behind: int = 0
    under_way: Mapping[str, datetime] = field(default_factory=dict)
    """Since when."""


@dataclass(frozen=True)
class CustomerPage:
    """Which customers of a run: those after one, or the named ones. `began`: when the run did, by
    the clock of the database."""

    period: str
    after: str | None = None
    limit: int = 200
    customers: tuple[str, ...] | None = None
    began: datetime | None = None


@dataclass(frozen=True)
class Begun:
    """A run that has begun: how many customers it has, and since when."""

    customers: int
    at: datetime


@dataclass(frozen=True)
class Progress:
    """Answer of the query `progress`. `left_behind`: those that ran out of the run's patience."""

    total: int
    started: int
    finished: int
    left_behind: int = 0


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


APPROVED, NOT_APPROVED = "approved", "not approved"
"""What is kept with a draft that was decided."""


@dataclass(frozen=True)
class Verdict:
    """A person's decision about a draft, under the id of the Update that it came with, or the
    deadline's."""

    approved: bool
    reason: str
    actor: str
    update_id: str = ""

    @property
    def decision(self) -> str:
        return APPROVED if self.approved else NOT_APPROVED


def judged(_: InvoiceStatus, decisions: Sequence[Mapping[str, str]]) -> Decided | None:
    """Who approved a draft, or did not."""
    return recorded(decisions, APPROVED, NOT_APPROVED)


@dataclass(frozen=True)
class DecidedDraft:
    """A draft with the decision about it; None where none was needed."""

    settlement: SettlementRequest
    invoice_id: str
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Reminder:
    """That nobody has decided yet about a draft; `name` says how often that was said."""

    invoice_id: str
    name: str
    reason: str


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


@dataclass(frozen=True)
class QualityCheck:
    """Stored with the invoice. A blocking check that fails stops it before it is issued; one that
    asks for approval hands it to a person."""

    name: str
    passed: bool
    blocking: bool
    detail: str


@dataclass(frozen=True)
class Trend:
    """A month's quantity of one resource beside the mean of up to six months before it. What came
    `late` is a part of its month only, so it can be too much but not too little."""

    resource_type: str
    quantity: Decimal
    mean: Decimal | None
    late: bool = False


USUAL = "usual"
NOT_REJECTED = "not-rejected-before"
COMPARABLE = "comparable"
FOR_A_PERSON = (USUAL, NOT_REJECTED, COMPARABLE)
"""Checks that hand an invoice to a person when they fail."""


def quality_checks(
    amounts: Sequence[int],
    total: int,
    recomputed: int,
    unpriced: Sequence[str],
    doubts: Sequence[str],
    late: Sequence[str],
    rejected: Sequence[str],
    trends: Sequence[Trend],
    policy: ApprovalPolicy,
) -> list[QualityCheck]:
    """Everything that is looked at before an invoice is issued."""
    unusual = [trend for trend in trends if _unusual(trend, policy.anomaly_factor)]
    return [
        QualityCheck(
            "non-negative", all(amount >= 0 for amount in amounts), True, f"{len(amounts)} lines"
        ),
        QualityCheck("lines-add-up", sum(amounts) == total, True, f"{sum(amounts)} = {total}"),
        QualityCheck("snapshot-recomputes", recomputed == total, True, f"{recomputed} = {total}"),
        QualityCheck(
            "everything-priced",
            not unpriced,
            True,
            f"no price for {', '.join(unpriced)}" if unpriced else "everything has a price",
        ),
        QualityCheck(COMPARABLE, not doubts, False, "; ".join(doubts) or "one currency"),
        QualityCheck(NOT_REJECTED, not rejected, False, _given_back(rejected)),
        QualityCheck(USUAL, not unusual, False, "; ".join(map(_told, unusual)) or "as before"),
        QualityCheck("no-late-usage", not late, False, ", ".join(late) or "none"),
    ]


def blocked(checks: Sequence[QualityCheck]) -> str | None:
    """Why the invoice must not be issued; None when it may."""
    failed = [f"{check.name} ({check.detail})" for check in checks if _stops(check)]
    return "quality check failed: " + ", ".join(failed) if failed else None


def needs_approval(
    currency: str, total: int, checks: Sequence[QualityCheck], policy: ApprovalPolicy
) -> str | None:
    """All that a person must look at; None when nobody need."""
    asked = [each for each in checks if each.name in FOR_A_PERSON and not each.passed]
    doubts = [f"{each.name} ({each.detail})" for each in asked]
    return "; ".join([*_above(currency, total, policy), *doubts]) or None


def _above(currency: str, total: int, policy: ApprovalPolicy) -> Iterator[str]:
    threshold = policy.thresholds.get(currency)
    if threshold is None and total:
        yield f"nobody has said how much may be issued in {currency} without a person"
    if threshold is not None and total > threshold:
        most = format_amount(threshold, currency)
        yield f"the total {format_amount(total, currency)} is above {most}"


def _stops(check: QualityCheck) -> bool:
    return check.blocking and not check.passed


def _given_back(months: Sequence[str]) -> str:
    if not months:
        return "none"
    why = "whose draft was rejected or whose invoice was cancelled"
    return f"usage of {', '.join(months)}, {why}"


def _unusual(trend: Trend, factor: int) -> bool:
    if not trend.mean:
        return False
    too_little = trend.quantity * factor < trend.mean and not trend.late
    return too_little or trend.quantity > trend.mean * factor


def _told(trend: Trend) -> str:
    mean = decimal_text(round(trend.mean or ZERO, 2))
    return f"{decimal_text(trend.quantity)} of {trend.resource_type} against a mean of {mean}"
