"""What we ask of a payment gateway (PG) and what may come back."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Operation(StrEnum):
    CHARGE = "charge"
    """Authorize and capture in one."""
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    """Take what was authorized."""
    VOID = "void"
    """Let go of what was authorized and not captured."""
    REFUND = "refund"


class GatewayStatus(StrEnum):
    """The outcome of one call, as far as it is known."""

    AUTHORIZED = "AUTHORIZED"
    """The PG has set the money aside with the card's bank."""
    CAPTURED = "CAPTURED"
    """The PG has taken the money."""
    VOIDED = "VOIDED"
    """The PG has let the authorization go."""
    DECLINED = "DECLINED"
    """A definite no about this charge or refund."""
    REFUNDED = "REFUNDED"
    """The PG has given the money back."""
    NOT_FOUND = "NOT_FOUND"
    """The PG knows nothing of it: never arrived, or not yet executed."""
    NOT_SENT = "NOT_SENT"
    """The request never left us: no connection, open circuit breaker, full bulkhead."""
    REFUSED = "REFUSED"
    """The PG would not process *this request* (4xx). Says nothing of an earlier one."""
    UNKNOWN = "UNKNOWN"
    """It may or may not have happened: time-out, broken connection, 5xx, 409."""


SUCCESS = {
    Operation.CHARGE: GatewayStatus.CAPTURED,
    Operation.AUTHORIZE: GatewayStatus.AUTHORIZED,
    Operation.CAPTURE: GatewayStatus.CAPTURED,
    Operation.VOID: GatewayStatus.VOIDED,
    Operation.REFUND: GatewayStatus.REFUNDED,
}
"""What each operation is asked for."""

DEFINITE = frozenset({*SUCCESS.values(), GatewayStatus.DECLINED})


@dataclass(frozen=True)
class GatewayRequest:
    """A charge of a payment, or a refund of (a part of) it.

    `billing_key` is sealed for the customer, if the installation has keys.
    `payment_id` is the order id at the PG; `reference_id` is the payment's id for a charge and the
    refund's for a refund. The key stays the same for every re-send of the same business attempt.
    """

    operation: Operation
    gateway: str
    payment_id: str
    reference_id: str
    amount: int
    currency: str
    billing_key: str
    customer_id: str = ""

    @property
    def idempotency_key(self) -> str:
        return f"{self.reference_id}:{self.operation}:1"


@dataclass(frozen=True)
class GatewayAnswer:
    """`code` and `message` are the PG's own words; `reference` is its id for the thing."""

    status: GatewayStatus
    reference: str | None = None
    code: str | None = None
    message: str | None = None

    @property
    def definite(self) -> bool:
        return self.status in DEFINITE


@dataclass(frozen=True)
class Attempt:
    """The row written before the first call, so that "nothing ever left us" can be known.

    `resumed` means that an earlier run of the workflow opened it: something may have been sent.
    """

    opened_at: datetime
    resumed: bool
    opened_by_run: str = ""


@dataclass(frozen=True)
class GatewayAttempt:
    """One operation at the PG as it is kept: `outcome`, `gateway_reference`, `code` and `message`
    are its last answer, if there was one."""

    reference_id: str
    operation: Operation
    payment_id: str
    gateway: str
    idempotency_key: str
    amount: int
    currency: str
    opened_at: datetime
    opened_by_run: str
    outcome: GatewayStatus | None
    gateway_reference: str | None
    code: str | None
    message: str | None
    closed_at: datetime | None
