"""Values with ids of their own, so that tests in one database do not meet."""

from itertools import cycle
from uuid import uuid4

from uuid_utils.compat import uuid7

from domain.event import Event, Origin, Topic
from domain.payment import PayableType, PaymentRequest
from domain.refund import RefundRequest


def new_id() -> str:
    return str(uuid7())


def new_customer() -> str:
    return f"c-{uuid4().hex}"


_MONTHS = cycle(f"{year}-{month:02}" for year in range(2004, 2020) for month in range(1, 13))


def new_period() -> str:
    """A month of before 2020, another each time for 16 years of them: none that a test names."""
    return next(_MONTHS)


def a_payment(
    wallet_amount: int = 0,
    card_amount: int = 0,
    *,
    points_amount: int = 0,
    customer_id: str | None = None,
    currency: str = "KRW",
    payable_type: PayableType = PayableType.ORDER,
    payable_id: str | None = None,
) -> PaymentRequest:
    """A payment through the gateway named `simulator`."""
    return PaymentRequest(
        payment_id=new_id(),
        payable_type=payable_type,
        payable_id=payable_id or new_id(),
        customer_id=customer_id or new_customer(),
        currency=currency,
        wallet_amount=wallet_amount,
        card_amount=card_amount,
        points_amount=points_amount,
        gateway="simulator",
        billing_key="bk_4242424242424242",
        origin=Origin("key-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )


def a_refund(
    payment: PaymentRequest,
    card_amount: int,
    wallet_amount: int,
    *,
    points_amount: int = 0,
    late_capture: bool = False,
) -> RefundRequest:
    """A refund of a part of a payment."""
    return RefundRequest(
        refund_id=new_id(),
        payment_id=payment.payment_id,
        customer_id=payment.customer_id,
        currency=payment.currency,
        card_amount=card_amount,
        wallet_amount=wallet_amount,
        points_amount=points_amount,
        gateway=payment.gateway,
        reason="the customer asked",
        late_capture=late_capture,
        origin=payment.origin,
    )


def an_event(aggregate_id: str, number: int = 0, topic: Topic = Topic.PAYMENT_COMPLETED) -> Event:
    """An event whose data says which one it is."""
    return Event(topic, aggregate_id, "c-sample", {"number": number}, Origin("key-1"))
