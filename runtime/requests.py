"""A saga's input as its row remembers it: what the sweeper starts again."""

from typing import Any

from sqlalchemy import Row

from domain.event import Origin
from domain.payment import PayableType, PaymentRequest, StockLine
from domain.refund import RefundRequest, late_capture_refund_id
from domain.waits import Waits


def payment_request(row: Row[Any], waits: Waits) -> PaymentRequest:
    """From a row of `payments`."""
    return PaymentRequest(
        payment_id=row.id,
        payable_type=PayableType(row.payable_type),
        payable_id=row.payable_id,
        customer_id=row.customer_id,
        currency=row.currency,
        wallet_amount=row.wallet_amount,
        card_amount=row.card_amount,
        points_amount=row.points_amount,
        coupon_code=row.coupon_code,
        discount=row.discount,
        stock=tuple(StockLine(sku, quantity) for sku, quantity in row.stock),
        gateway=row.gateway,
        billing_key=row.billing_key,
        two_calls=row.two_calls,
        origin=Origin(row.idempotency_key, row.traceparent),
        waits=waits,
    )


def refund_request(row: Row[Any], waits: Waits) -> RefundRequest:
    """From a row of `refunds`."""
    return RefundRequest(
        refund_id=row.id,
        payment_id=row.payment_id,
        customer_id=row.customer_id,
        currency=row.currency,
        card_amount=row.card_amount,
        wallet_amount=row.wallet_amount,
        points_amount=row.points_amount,
        gateway=row.gateway,
        reason=row.reason,
        late_capture=row.id == late_capture_refund_id(row.payment_id),
        origin=Origin(row.idempotency_key, row.traceparent),
        waits=waits,
    )
