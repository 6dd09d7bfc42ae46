"""A payment: one attempt to collect a payable (an order, or a wallet top-up)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from domain.errors import InvalidRequest, WalletAmountTooLarge
from domain.event import JSON, Event, Origin, Topic
from domain.gateway import Attempt, GatewayRequest, Operation
from domain.ledger import SALES, Posting, Transaction, available, gateway, held, transfer
from domain.waits import Waits


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


class Method(StrEnum):
    CARD = "CARD"
    WALLET = "WALLET"
    SPLIT = "SPLIT"


class PayableType(StrEnum):
    ORDER = "ORDER"
    TOP_UP = "TOP_UP"


@dataclass(frozen=True)
class PaymentRequest:
    """Input of the PaymentSaga: all that was fixed when the payment was made.

    `wallet_amount + card_amount` is what is payable; either may be zero, and with both zero the
    payment completes without asking anybody.
    """

    payment_id: str
    payable_type: PayableType
    payable_id: str
    customer_id: str
    currency: str
    wallet_amount: int
    card_amount: int
    gateway: str = ""
    billing_key: str = ""
    origin: Origin = field(default_factory=Origin)
    waits: Waits = field(default_factory=Waits)

    @property
    def amount(self) -> int:
        return self.wallet_amount + self.card_amount

    def charge(self) -> GatewayRequest:
        """The one charge of this payment."""
        return GatewayRequest(
            operation=Operation.CHARGE,
            gateway=self.gateway,
            payment_id=self.payment_id,
            reference_id=self.payment_id,
            amount=self.card_amount,
            currency=self.currency,
            billing_key=self.billing_key,
        )


@dataclass(frozen=True)
class PaymentOutcome:
    """Result of the PaymentSaga."""

    payment_id: str
    status: PaymentStatus
    failure_code: str | None = None


@dataclass(frozen=True)
class Capture:
    """The whole payment is taken; `gateway_reference` is None without a card part."""

    payment: PaymentRequest
    gateway_reference: str | None = None


@dataclass(frozen=True)
class FailedPayment:
    """A payment that takes nothing, and why. `status` is FAILED or CANCELLED."""

    payment: PaymentRequest
    status: PaymentStatus
    code: str
    message: str
    gateway_code: str | None = None


@dataclass(frozen=True)
class Marking:
    """A status on the way, which is not final."""

    payment: PaymentRequest
    status: PaymentStatus
    reason: str


@dataclass(frozen=True)
class OpenedPayment:
    """Where a run of the saga begins. `attempt` is None without a card part.

    A final `status` means that an earlier run ended this payment: there is nothing to do.
    `cancel_requested`: somebody asked for a cancellation, perhaps of an earlier run.
    """

    status: PaymentStatus
    attempt: Attempt | None = None
    cancel_requested: bool = False


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


def capture_transaction(payment: PaymentRequest) -> Transaction:
    """The postings of a completed payment: what the wallet held and the gateway took becomes sales,
    or, for a top-up, the wallet's own balance."""
    target = SALES if payment.payable_type is PayableType.ORDER else available(payment.customer_id)
    postings: list[Posting] = []
    if payment.wallet_amount:
        source = held(payment.customer_id)
        postings += transfer(source, target, payment.currency, payment.wallet_amount)
    if payment.card_amount:
        source = gateway(payment.gateway)
        postings += transfer(source, target, payment.currency, payment.card_amount)
    return Transaction(
        key=f"payment/{payment.payment_id}/capture",
        kind="capture",
        postings=tuple(postings),
        payment_id=payment.payment_id,
    )


def completed_events(payment: PaymentRequest, gateway_reference: str | None) -> tuple[Event, ...]:
    """What the world learns when the money is taken."""
    data = {**_event_data(payment), "gatewayReference": gateway_reference}
    completed = _event(payment, Topic.PAYMENT_COMPLETED, payment.payment_id, data)
    return completed, *_order_event(payment, Topic.ORDER_COMPLETED, {})


def failed_events(failed: FailedPayment) -> tuple[Event, ...]:
    """What the world learns when it is not."""
    why = {"status": failed.status.value, "failureCode": failed.code}
    data = {**_event_data(failed.payment), **why}
    event = _event(failed.payment, Topic.PAYMENT_FAILED, failed.payment.payment_id, data)
    return event, *_order_event(failed.payment, Topic.ORDER_FAILED, {"failureCode": failed.code})


def _event_data(payment: PaymentRequest) -> dict[str, JSON]:
    return {
        "paymentId": payment.payment_id,
        "payableType": payment.payable_type.value,
        "payableId": payment.payable_id,
        "customerId": payment.customer_id,
        "currency": payment.currency,
        "amount": payment.amount,
        "walletAmount": payment.wallet_amount,
        "cardAmount": payment.card_amount,
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
        "amount": payment.amount,
        **more,
    }
    return (_event(payment, topic, payment.payable_id, data),)


def _event(
    payment: PaymentRequest, topic: Topic, aggregate_id: str, data: Mapping[str, JSON]
) -> Event:
    return Event(topic, aggregate_id, payment.customer_id, data, payment.origin)
