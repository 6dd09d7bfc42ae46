"""A refund gives back (a part of) what a payment captured: card first, then wallet."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from domain import funding, points
from domain.errors import RefundExceedsCapture
from domain.event import JSON, Event, Origin, Topic
from domain.funding import Funded, Part
from domain.gateway import Attempt, GatewayRequest, Operation
from domain.ledger import LATE_CAPTURES, Posting, Transaction, available, gateway, transfer
from domain.money import format_amount
from domain.payment import PaymentRequest
from domain.review import QUESTIONS, NewReview, Question
from domain.waits import Waits


class RefundStatus(StrEnum):
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


FINAL = frozenset({RefundStatus.COMPLETED, RefundStatus.FAILED})


@dataclass(frozen=True)
class Wanted:
    """Which refunds somebody looks for; what is None does not matter. `until` is not included."""

    customer_id: str | None = None
    payment_id: str | None = None
    status: RefundStatus | None = None
    since: datetime | None = None
    until: datetime | None = None


LATE_CAPTURE = "LATE_CAPTURE"
"""Reason of a refund that we make by ourselves: the PG captured after we had said FAILED."""


@dataclass(frozen=True)
class RefundRequest(Funded):
    """Input of the RefundSaga.

    `late_capture`: we make it by ourselves, of a capture found after the payment had failed; the
    money is in suspense instead of sales, and the refund must not fail.
    """

    refund_id: str
    payment_id: str
    customer_id: str
    currency: str
    card_amount: int
    wallet_amount: int
    points_amount: int = 0
    gateway: str = ""
    reason: str = ""
    late_capture: bool = False
    origin: Origin = field(default_factory=Origin)
    waits: Waits = field(default_factory=Waits)

    @property
    def question(self) -> Question:
        """What is asked when a person must decide."""
        return Question.LATE_CAPTURE_REFUND if self.late_capture else QUESTIONS[Operation.REFUND]

    def gateway_refund(self) -> GatewayRequest:
        """The one request at the PG for the card part."""
        return GatewayRequest(
            operation=Operation.REFUND,
            gateway=self.gateway,
            payment_id=self.payment_id,
            reference_id=self.refund_id,
            amount=self.card_amount,
            currency=self.currency,
            billing_key="",
        )


@dataclass(frozen=True)
class Refund(Funded):
    """A refund as it stands."""

    id: str
    payment_id: str
    customer_id: str
    currency: str
    card_amount: int
    wallet_amount: int
    points_amount: int
    gateway: str
    reason: str
    status: RefundStatus
    failure_code: str | None
    failure_message: str | None
    gateway_code: str | None
    gateway_reference: str | None
    review_reason: str | None
    idempotency_key: str | None
    traceparent: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class OpenedRefund:
    """Where a run of the saga begins. `attempt` is None without a card part."""

    status: RefundStatus
    attempt: Attempt | None = None


@dataclass(frozen=True)
class CompletedRefund:
    """All of the refund is given back."""

    refund: RefundRequest
    gateway_reference: str | None = None


@dataclass(frozen=True)
class FailedRefund:
    """The PG gave nothing back, and why."""

    refund: RefundRequest
    code: str
    message: str
    gateway_code: str | None = None


@dataclass(frozen=True)
class RefundMarking:
    """A status on the way, which is not final. With a `question` it waits for a person."""

    refund: RefundRequest
    status: RefundStatus
    reason: str
    question: Question | None = None

    def review(self) -> NewReview | None:
        """What is asked of a person."""
        if self.question is None:
            return None
        refund = self.refund
        return NewReview(
            refund.refund_id, refund.payment_id, Operation.REFUND, self.question, self.reason
        )


@dataclass(frozen=True)
class RefundOutcome:
    """Result of the RefundSaga."""

    refund_id: str
    status: RefundStatus
    failure_code: str | None = None


def split(refundable: Sequence[Part], amount: int, currency: str) -> tuple[Part, ...]:
    """How a refund divides over what can be refunded: card first up to its capture, then wallet,
    points last; raises `RefundExceedsCapture`."""
    left = funding.worth(refundable)
    if amount > left:
        raise RefundExceedsCapture(
            f"{format_amount(amount, currency)} is more than the {format_amount(left, currency)} "
            "that can still be refunded."
        )
    return funding.first(refundable, amount)


def refund_transaction(refund: RefundRequest) -> Transaction:
    """The postings of a completed refund: what was taken goes back to where it came from."""
    postings: list[Posting] = []
    for part in refund.parts:
        source = LATE_CAPTURES if refund.late_capture else part.spent_on
        postings += transfer(source, part.home, part.unit, part.amount)
    return Transaction(
        key=f"refund/{refund.refund_id}",
        kind="refund",
        postings=tuple(postings),
        payment_id=refund.payment_id,
    )


def points_taken_back(refund: RefundRequest, taken: int) -> Transaction:
    """Earned points that go back with a refund."""
    source = available(refund.customer_id)
    return Transaction(
        key=f"refund/{refund.refund_id}/points",
        kind="take-back",
        postings=transfer(source, points.ISSUED, points.UNIT, taken),
        payment_id=refund.payment_id,
    )


def completed_event(refund: RefundRequest) -> Event:
    """What the world learns of it; versions count on the payment's own line."""
    data: dict[str, JSON] = {
        "refundId": refund.refund_id,
        "paymentId": refund.payment_id,
        "customerId": refund.customer_id,
        "currency": refund.currency,
        "amount": refund.worth,
        **{f"{kind}Amount": amount for kind, amount in funding.by_kind(refund.parts).items()},
        "reason": refund.reason,
    }
    topic = Topic.REFUND_COMPLETED
    return Event(topic, refund.payment_id, refund.customer_id, data, refund.origin)


def late_capture_refund_id(payment_id: str) -> str:
    """Each payment has at most one; its id tells it apart, since a reason is anybody's words."""
    return str(uuid5(UUID(payment_id), LATE_CAPTURE))


def of_late_capture(payment: PaymentRequest) -> RefundRequest:
    """The refund that we make by ourselves of a capture found after the payment had failed."""
    return RefundRequest(
        refund_id=late_capture_refund_id(payment.payment_id),
        payment_id=payment.payment_id,
        customer_id=payment.customer_id,
        currency=payment.currency,
        card_amount=payment.card_amount,
        wallet_amount=0,
        gateway=payment.gateway,
        reason=LATE_CAPTURE,
        late_capture=True,
        origin=payment.origin,
        waits=payment.waits,
    )


def late_capture_transaction(payment: PaymentRequest) -> Transaction:
    """Money that the PG holds for us though nobody owes it: in suspense until it is given back."""
    source = gateway(payment.gateway)
    return Transaction(
        key=f"payment/{payment.payment_id}/late-capture",
        kind="late-capture",
        postings=transfer(source, LATE_CAPTURES, payment.currency, payment.card_amount),
        payment_id=payment.payment_id,
    )
