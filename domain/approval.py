"""Approval: what is looked at before an invoice is issued, and when a person must."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from domain.audit import Actor
from domain.decision import Decided, recorded
from domain.invoice import InvoiceStatus
from domain.money import format_amount
from domain.pricing import ZERO, decimal_text


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


APPROVED, NOT_APPROVED = "approved", "not approved"
"""What is kept with a draft that was decided."""


@dataclass(frozen=True)
class Verdict:
    """A person's decision about a draft, under the id of the Update that it came with, or the
    deadline's, which is `by` nobody. `actor` is kept with the invoice. `persons`: see
    `domain.proposal.Agreed`."""

    approved: bool
    reason: str
    actor: str
    update_id: str = ""
    by: Actor | None = None
    persons: tuple[str, ...] = ()

    @property
    def decision(self) -> str:
        return APPROVED if self.approved else NOT_APPROVED


def judged(_: InvoiceStatus, decisions: Sequence[Mapping[str, str]]) -> Decided | None:
    """Who approved a draft, or did not."""
    return recorded(decisions, APPROVED, NOT_APPROVED)


@dataclass(frozen=True)
class Reminder:
    """That nobody has decided yet about a draft; `name` says how often that was said."""

    invoice_id: str
    name: str
    reason: str


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
