"""Webhooks of the PG: stored once per event id, then treated as hints."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from domain.payment import PaymentStatus
from domain.refund import RefundStatus
from store.database import Transaction
from store.tables import gateway_webhooks, payments, refunds


@dataclass(frozen=True)
class Stored:
    """An event that had not come before, and how what it is about stands; None if that is not
    there."""

    payment: PaymentStatus | None
    refund: RefundStatus | None


async def store(
    tx: Transaction,
    gateway: str,
    event_id: str,
    body: Mapping[str, object],
    payment_id: str | None,
    refund_id: str | None,
) -> Stored | None:
    """Keep an event about a payment or a refund; None when it was stored before."""
    row = insert(gateway_webhooks).values(gateway=gateway, event_id=event_id, body=body)
    payment = select(payments.c.status).where(payments.c.id == payment_id).scalar_subquery()
    refund = select(refunds.c.status).where(refunds.c.id == refund_id).scalar_subquery()
    stored = (await tx.execute(row.on_conflict_do_nothing().returning(payment, refund))).first()
    if stored is None:
        return None
    of_payment, of_refund = stored
    return Stored(
        None if of_payment is None else PaymentStatus(of_payment),
        None if of_refund is None else RefundStatus(of_refund),
    )
