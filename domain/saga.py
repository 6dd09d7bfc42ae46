"""Steps of a saga as operators see them."""

from enum import StrEnum


class StepState(StrEnum):
    DONE = "DONE"
    REFUSED = "REFUSED"
    UNDONE = "UNDONE"


WALLET_HOLD = "wallet.hold"
GATEWAY_CHARGE = "gateway.charge"
PAYMENT_COMPLETE = "payment.complete"
