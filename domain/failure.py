"""Why a payment took no money, or a refund gave none back, in our words."""

from enum import StrEnum

from domain.gateway import GatewayAnswer, GatewayStatus

HARD_DECLINES = frozenset(
    {"lost_card", "stolen_card", "expired_card", "pickup_card", "invalid_account"}
)
"""Decline codes after which the same card is not charged again (Stripe's documentation of declines
calls them hard: no retry can succeed)."""

NO_CODE, SOFT, HARD = "none", "soft", "hard"


class FailureCode(StrEnum):
    DECLINED = "declined"
    """The PG's definite no; its own code stands beside it."""
    INSUFFICIENT_FUNDS = "insufficient-funds"
    """The wallet held less than the wallet part."""
    PAYMENT_METHOD_MISSING = "payment-method-missing"
    """An invoice is to be charged and its customer has no card."""
    INSUFFICIENT_POINTS = "insufficient-points"
    """The customer had fewer points than the order is to take."""
    OUT_OF_STOCK = "out-of-stock"
    """Less was available than ordered."""
    COUPON_NOT_APPLICABLE = "coupon-not-applicable"
    """The coupon was used up, or its time was over, when it was to be used."""
    COUPON_NOT_ISSUED = "coupon-not-issued"
    """The customer had no claimed coupon left."""
    GATEWAY_UNAVAILABLE = "gateway-unavailable"
    """No request ever left us within the re-send window."""
    GATEWAY_REFUSED = "gateway-refused"
    """The PG would not process the request (wrong credentials, unknown card, …)."""
    GATEWAY_NOT_FOUND = "gateway-not-found"
    """Requests left us, and the PG has proved not to know any of them."""
    RESOLVED_FAILED = "resolved-failed"
    """An operator decided that nothing happened."""
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    """An earlier run was undone before this one began."""


def failure_code(answer: GatewayAnswer) -> FailureCode:
    """Our word for an answer that is neither CAPTURED nor REFUNDED."""
    if answer.code == FailureCode.RESOLVED_FAILED:
        return FailureCode.RESOLVED_FAILED
    return {
        GatewayStatus.DECLINED: FailureCode.DECLINED,
        GatewayStatus.NOT_SENT: FailureCode.GATEWAY_UNAVAILABLE,
        GatewayStatus.REFUSED: FailureCode.GATEWAY_REFUSED,
    }.get(answer.status, FailureCode.GATEWAY_NOT_FOUND)


def code_class(answer: GatewayAnswer) -> str:
    """What a decline says of the card; `none` for the rest. Each PG has a hundred codes."""
    if answer.status is not GatewayStatus.DECLINED:
        return NO_CODE
    return HARD if answer.code in HARD_DECLINES else SOFT


def gateway_code(answer: GatewayAnswer) -> str | None:
    """The PG's own code; a person's decision has none."""
    return None if answer.code == FailureCode.RESOLVED_FAILED else answer.code
