"""Steps of the order saga as operators and consumers of `billing.order.step` see them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.gateway import Operation


class StepState(StrEnum):
    DONE = "DONE"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"
    """The gateway's outcome is being found out."""
    NEEDS_REVIEW = "NEEDS_REVIEW"
    """Only a person may decide how it ends."""
    UNDONE = "UNDONE"


@dataclass(frozen=True)
class SagaStep:
    """What became of a step, and when. A payment's saga has the payment's id."""

    saga_id: str
    step: str
    state: StepState
    at: datetime


COUPON_USE = "coupon.use"
ORDER_APPLY_COUPON = "order.apply_coupon"
INVENTORY_RESERVE = "inventory.reserve"
WALLET_HOLD = "wallet.hold"
GATEWAY_AUTHORIZE = "gateway.authorize"
POINTS_DEDUCT = "points.deduct"
GATEWAY_CHARGE = "gateway.charge"
GATEWAY_CAPTURE = "gateway.capture"
PAYMENT_COMPLETE = "payment.complete"
PAYMENT_FAIL = "payment.fail"


def of_gateway(operation: Operation) -> str:
    """The step that an operation at the gateway belongs to. Letting go is how the authorization is
    undone, not a step of its own."""
    return GATEWAY_AUTHORIZE if operation is Operation.VOID else f"gateway.{operation}"


IN_ORDER = (
    COUPON_USE,
    ORDER_APPLY_COUPON,
    INVENTORY_RESERVE,
    WALLET_HOLD,
    GATEWAY_AUTHORIZE,
    POINTS_DEDUCT,
    GATEWAY_CHARGE,
    GATEWAY_CAPTURE,
    PAYMENT_COMPLETE,
    PAYMENT_FAIL,
)
"""How a saga goes forward; steps that do not apply to an order are left out."""
