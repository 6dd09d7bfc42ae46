"""A refund gives back (a part of) what a payment captured: card first, then wallet."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from domain import points
from domain.errors import RefundExceedsCapture
from domain.event import JSON, Event, Origin, Topic
from domain.gateway import Attempt, GatewayRequest, Operation
from domain.ledger import LATE_CAPTURES, SALES, Posting, Transaction, available, gateway, transfer
from domain.money import format_amount
from domain.payment import Payment, PaymentRequest, PaymentStatus
from domain.review import QUESTIONS, NewReview, Question
from domain.waits import Waits


class RefundStatus(StrEnum):
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


FINAL = frozenset({RefundStatus.COMPLETED, RefundStatus.FAILED})

LATE_CAPTURE = "LATE_CAPTURE"
"""Reason of a refund that we make by ourselves: the PG captured after we had said FAILED."""


@dataclass(frozen=True)
class Refundable:
    """What a payment captured and what earlier refunds have taken of it (pending ones too)."""

    currency: str
    card_captured: int
    wallet_captured: int
    card_refunded: int
    wallet_refunded: int
    points_spent: int = 0
    points_refunded: int = 0

    @property
    def card_left(self) -> int:
        return self.card_captured - self.card_refunded

    @property
    def wallet_left(self) -> int:
        return self.wallet_captured - self.wallet_refunded

    @property
    def left(self) -> int:
        """In minor units: a point that paid one minor unit counts as one."""
        return self.card_left + self.wallet_left + self.points_spent - self.points_refunded


def refundable(payment: Payment) -> Refundable:
    """Nothing of a payment that has not completed."""
    captured = payment.status is PaymentStatus.COMPLETED
    return Refundable(
        currency=payment.currency,
        card_captured=payment.card_amount if captured else 0,
        wallet_captured=payment.wallet_amount if captured else 0,
        card_refunded=payment.card_refunded,
        wallet_refunded=payment.wallet_refunded,
        points_spent=payment.points_amount if captured else 0,
        points_refunded=payment.points_refunded,
    )


@dataclass(frozen=True)
class RefundRequest:
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
    def amount(self) -> int:
        return self.card_amount + self.wallet_amount + self.points_amount

    @property
    def money(self) -> int:
        return self.card_amount + self.wallet_amount

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
class Refund:
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


@dataclass(frozen=True)
class RefundSplit:
    """How a refund divides."""

    card: int
    wallet: int
    points: int


def split(refundable: Refundable, amount: int) -> RefundSplit:
    """Card first up to its capture, then wallet, points last; raises `RefundExceedsCapture`."""
    if amount > refundable.left:
        left = format_amount(refundable.left, refundable.currency)
        raise RefundExceedsCapture(
            f"{format_amount(amount, refundable.currency)} is more than the {left} "
            "that can still be refunded."
        )
    card = min(amount, refundable.card_left)
    wallet = min(amount - card, refundable.wallet_left)
    return RefundSplit(card, wallet, amount - card - wallet)


def refund_transaction(refund: RefundRequest) -> Transaction:
    """The postings of a completed refund: what was taken goes back to where it came from."""
    source = LATE_CAPTURES if refund.late_capture else SALES
    postings: list[Posting] = []
    if refund.card_amount:
        target = gateway(refund.gateway)
        postings += transfer(source, target, refund.currency, refund.card_amount)
    if refund.wallet_amount:
        target = available(refund.customer_id)
        postings += transfer(source, target, refund.currency, refund.wallet_amount)
    if refund.points_amount:
        target = available(refund.customer_id)
        postings += transfer(points.REDEEMED, target, points.UNIT, refund.points_amount)
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
        "amount": refund.amount,
        "walletAmount": refund.wallet_amount,
        "cardAmount": refund.card_amount,
        "pointsAmount": refund.points_amount,
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
