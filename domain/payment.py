"""A payment: one attempt to collect a payable (an order, or a wallet top-up)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from domain import funding, points
from domain.customer import PaymentMethod
from domain.errors import InvalidRequest, WalletAmountTooLarge
from domain.event import JSON, Event, Origin, Topic
from domain.funding import Funded, Kind, Part
from domain.gateway import Attempt, GatewayAnswer, GatewayRequest, Operation
from domain.ledger import Posting, Transaction, available, transfer
from domain.order import Order, OrderLine, OrderStatus
from domain.review import NewReview, Question
from domain.saga import StepState
from domain.waits import Waits
from domain.wallet import Hold


class PaymentStatus(StrEnum):
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    """The gateway's outcome is being found out; everything stays held."""
    NEEDS_REVIEW = "NEEDS_REVIEW"
    """Only a person may decide; everything stays held."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


FINAL = frozenset({PaymentStatus.COMPLETED, PaymentStatus.FAILED, PaymentStatus.CANCELLED})


@dataclass(frozen=True)
class StockLine:
    """Pieces of one tracked SKU."""

    sku: str
    quantity: int


class Method(StrEnum):
    CARD = "CARD"
    WALLET = "WALLET"
    SPLIT = "SPLIT"


class PayableType(StrEnum):
    ORDER = "ORDER"
    TOP_UP = "TOP_UP"
    INVOICE = "INVOICE"


@dataclass(frozen=True)
class PaymentRequest(Funded):
    """Input of the PaymentSaga: all that was fixed when the payment was made.

    Its `parts` pay what is owed; without a card part no PG is asked. `points_amount` points pay
    the rest of the order after its discount. `lines` are the order's, where whoever made the
    payment had read them; `stock` names the tracked SKUs. `two_calls`: the PG
    authorizes first and captures at the pivot. `owner` is the id of a workflow that is told how it
    ended, `period` the month of the invoice that is paid. `new`: no workflow of it was ever there,
    so that nothing can have been sent to its PG; `cancel_requested`: somebody wants it cancelled.
    """

    payment_id: str
    payable_type: PayableType
    payable_id: str
    customer_id: str
    currency: str
    wallet_amount: int
    card_amount: int
    points_amount: int = 0
    coupon_code: str = ""
    discount: int = 0
    lines: tuple[OrderLine, ...] = ()
    stock: tuple[StockLine, ...] = ()
    gateway: str = ""
    billing_key: str = ""
    two_calls: bool = False
    owner: str = ""
    period: str = ""
    new: bool = False
    cancel_requested: bool = False
    origin: Origin = field(default_factory=Origin)
    waits: Waits = field(default_factory=Waits)

    def hold(self, kind: Kind) -> Hold:
        """The part of this kind, as it is set aside."""
        [part] = (part for part in self.ours if part.kind is kind)
        return Hold(self.payment_id, part.holder, part.unit, part.amount)

    @property
    def at_once(self) -> bool:
        """Whether setting it aside takes more than one step, with nothing at the PG in between."""
        steps = 2 * bool(self.coupon_code) + bool(self.stock) + len(self.ours)
        return steps > 1 and not self.two_calls

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What is asked of the PG, in order; the last one is the pivot, which takes the money."""
        if not self.card_amount:
            return ()
        if self.two_calls:
            return Operation.AUTHORIZE, Operation.CAPTURE
        return (Operation.CHARGE,)

    @property
    def pivot(self) -> Operation:
        """What takes the card part: a charge, or the capture of an authorization."""
        return Operation.CAPTURE if self.two_calls else Operation.CHARGE

    def gateway_request(self, operation: Operation) -> GatewayRequest:
        """One operation on the card part, once per payment."""
        return GatewayRequest(
            operation=operation,
            gateway=self.gateway,
            payment_id=self.payment_id,
            reference_id=self.payment_id,
            amount=self.card_amount,
            currency=self.currency,
            billing_key=self.billing_key,
            customer_id=self.customer_id,
        )


@dataclass(frozen=True)
class Payment(Funded):
    """A payment as it stands. What `PaymentRequest` says of its parts holds here too.

    `card_refunded`, `wallet_refunded` and `points_refunded` count pending refunds as well: they
    reserve what is left. `refunded_amount` and `money_refunded` are what completed ones gave back.
    `period` is the month of the invoice that is paid, if it is one.
    """

    id: str
    payable_type: PayableType
    payable_id: str
    period: str | None
    customer_id: str
    currency: str
    method: Method
    wallet_amount: int
    card_amount: int
    points_amount: int
    coupon_code: str
    discount: int
    stock: tuple[StockLine, ...]
    gateway: str
    billing_key: str
    two_calls: bool
    status: PaymentStatus
    failure_code: str | None
    failure_message: str | None
    gateway_code: str | None
    gateway_reference: str | None
    review_reason: str | None
    card_refunded: int
    wallet_refunded: int
    points_refunded: int
    refunded_amount: int
    money_refunded: int
    points_earned: int
    points_taken_back: int
    cancel_requested_at: datetime | None
    idempotency_key: str | None
    traceparent: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def refundable(self) -> tuple[Part, ...]:
        """What refunds have not taken yet; nothing of a payment that has not completed."""
        if self.status is not PaymentStatus.COMPLETED:
            return ()
        refunded = {
            Kind.CARD: self.card_refunded,
            Kind.WALLET: self.wallet_refunded,
            Kind.POINTS: self.points_refunded,
        }
        return funding.less(self.parts, refunded)


@dataclass(frozen=True)
class Wanted:
    """Which payments somebody looks for; what is None does not matter. `order_id` is a `payable_id`
    of an order, `open` are those that have not ended, `gateway_reference` is the PG's number of
    anything that it did, or ours of anything that it was asked for, `until` is not included."""

    customer_id: str | None = None
    order_id: str | None = None
    payable_id: str | None = None
    status: PaymentStatus | None = None
    open: bool = False
    older_than: timedelta | None = None
    gateway: str | None = None
    gateway_reference: str | None = None
    currency: str | None = None
    min_amount: int | None = None
    max_amount: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class PaymentOutcome:
    """Result of the PaymentSaga."""

    payment_id: str
    status: PaymentStatus
    failure_code: str | None = None
    gateway_code: str | None = None


@dataclass(frozen=True)
class Capture:
    """The whole payment is taken; `gateway_reference` is None without a card part."""

    payment: PaymentRequest
    gateway_reference: str | None = None


@dataclass(frozen=True)
class Watch:
    """What may still come of an operation that the PG did not know, and how long."""

    operation: Operation
    until: datetime

    def may_ask(self, operation: Operation) -> bool:
        """Whether a person can be asked about this operation meanwhile: an authorization that comes
        late is voided, a capture is refunded by another workflow."""
        return self.operation is Operation.AUTHORIZE and operation is Operation.VOID


@dataclass(frozen=True)
class FailedPayment:
    """A payment that takes nothing, and why. `status` is FAILED or CANCELLED; `step` is the one
    that was refused, if one was. `answers` is how each operation at the PG ended; `watch` what is
    still asked for."""

    payment: PaymentRequest
    status: PaymentStatus
    code: str
    message: str
    gateway_code: str | None = None
    step: str | None = None
    answers: dict[Operation, GatewayAnswer] = field(default_factory=dict)
    watch: Watch | None = None


@dataclass(frozen=True)
class Marking:
    """A status on the way, which is not final, and the step that it is about. With a `question`
    about an `operation` at the PG it waits for a person."""

    payment: PaymentRequest
    status: PaymentStatus
    reason: str
    step: str
    operation: Operation
    question: Question | None = None

    def review(self) -> NewReview | None:
        """What is asked of a person."""
        if self.question is None:
            return None
        id_ = self.payment.payment_id
        return NewReview(id_, id_, self.operation, self.question, self.reason)


@dataclass(frozen=True)
class OpenedPayment:
    """Where a run of the saga begins. `attempts` is empty without a card part.

    A final `status` means that an earlier run ended this payment: there is nothing to do, but for a
    `watch` that is not over. `cancel_requested`: somebody asked for a cancellation, perhaps of an
    earlier run.
    """

    status: PaymentStatus
    attempts: dict[Operation, Attempt] = field(default_factory=dict)
    cancel_requested: bool = False
    watch: Watch | None = None


@dataclass(frozen=True)
class ToPay:
    """What is looked at when an order is to be paid: the card that was asked for, if the customer
    has it, and those of the SKUs whose stock is counted."""

    order: Order
    card: PaymentMethod | None
    tracked: frozenset[str]


def split(method: Method, amount: int, wallet_amount: int | None) -> tuple[int, int]:
    """How `amount` divides into (wallet part, card part).

    Raises `InvalidRequest` when `wallet_amount` does not go with the method and
    `WalletAmountTooLarge` when it is more than what is payable.
    """
    if method is not Method.SPLIT:
        if wallet_amount is not None:
            raise InvalidRequest("walletAmount goes with the method SPLIT only.")
        return (amount, 0) if method is Method.WALLET else (0, amount)
    if wallet_amount is None:
        raise InvalidRequest("The method SPLIT needs a walletAmount.")
    if wallet_amount > amount:
        raise WalletAmountTooLarge(
            f"walletAmount is {wallet_amount}, but only {amount} is payable."
        )
    return wallet_amount, amount - wallet_amount


def capture_transactions(payment: PaymentRequest) -> tuple[Transaction, ...]:
    """The postings of a completed payment. What the wallet held and the gateway took becomes sales,
    or, for a top-up, the wallet's own balance; held points are redeemed, earned ones are issued."""
    entries: defaultdict[str, list[Posting]] = defaultdict(list)
    to_wallet = payment.payable_type is PayableType.TOP_UP
    for part in payment.parts:
        kind = "capture" if part.unit == payment.currency else "redeem"
        target = available(payment.customer_id) if to_wallet else part.spent_on
        entries[kind] += transfer(part.source, target, part.unit, part.amount)
    if earned := earned_points(payment):
        target = available(payment.customer_id)
        entries["earn"] += transfer(points.ISSUED, target, points.UNIT, earned)
    return tuple(
        Transaction(
            f"payment/{payment.payment_id}/{kind}", kind, tuple(postings), payment.payment_id
        )
        for kind, postings in entries.items()
    )


def earned_points(payment: PaymentRequest) -> int:
    """Points that the customer gets for this payment: for orders, not for top-ups."""
    is_order = payment.payable_type is PayableType.ORDER
    return points.earned(payment.currency, payment.money) if is_order else 0


def completed_events(
    payment: PaymentRequest, gateway_reference: str | None, lines: Sequence[OrderLine]
) -> tuple[Event, ...]:
    """What the world learns when the money is taken; `lines` are those of an order."""
    data = {**_event_data(payment), "gatewayReference": gateway_reference}
    completed = _event(payment, Topic.PAYMENT_COMPLETED, payment.payment_id, data)
    items: list[JSON] = [line.to_json() for line in lines]
    return completed, *_order_event(payment, Topic.ORDER_COMPLETED, {"items": items})


def failed_events(failed: FailedPayment) -> tuple[Event, ...]:
    """What the world learns when it is not."""
    why = {"status": failed.status, "failureCode": failed.code}
    data = {**_event_data(failed.payment), **why}
    event = _event(failed.payment, Topic.PAYMENT_FAILED, failed.payment.payment_id, data)
    return event, *_order_event(failed.payment, Topic.ORDER_FAILED, {"failureCode": failed.code})


def step_event(
    payment: PaymentRequest, step: str, state: StepState, order_status: OrderStatus
) -> tuple[Event, ...]:
    """One step's outcome, on the order's own line; `orderStatus` is where it leaves the order."""
    data = {
        "sagaId": payment.payment_id,
        "step": step,
        "outcome": state,
        "orderStatus": order_status,
    }
    return _order_event(payment, Topic.ORDER_STEP, data)


def _event_data(payment: PaymentRequest) -> dict[str, JSON]:
    return {
        "paymentId": payment.payment_id,
        "payableType": payment.payable_type,
        "payableId": payment.payable_id,
        "customerId": payment.customer_id,
        "currency": payment.currency,
        "amount": payment.money,
        **{f"{kind}Amount": amount for kind, amount in funding.by_kind(payment.parts).items()},
    }


def _order_event(
    payment: PaymentRequest, topic: Topic, more: Mapping[str, JSON]
) -> tuple[Event, ...]:
    if payment.payable_type is not PayableType.ORDER:
        return ()
    data = {
        "orderId": payment.payable_id,
        "paymentId": payment.payment_id,
        "customerId": payment.customer_id,
        "currency": payment.currency,
        "amount": payment.money,
        **more,
    }
    return (_event(payment, topic, payment.payable_id, data),)


def _event(
    payment: PaymentRequest, topic: Topic, aggregate_id: str, data: Mapping[str, JSON]
) -> Event:
    return Event(topic, aggregate_id, payment.customer_id, data, payment.origin)
