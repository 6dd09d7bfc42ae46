"""Webhooks of the PG: stored once per event id, then treated as hints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from domain.payment import PaymentStatus
from domain.refund import RefundStatus
from domain.webhook import Wanted, Webhook
from store.database import Transaction
from store.page import Order, Page, Place, matching, page, within
from store.tables import gateway_webhooks, payments, refunds

_STORE = (
    insert(gateway_webhooks)
    .values({name: bindparam(name) for name in ("gateway", "event_id", "body")})
    .on_conflict_do_nothing()
    .returning(
        *(
            select(table.c.status).where(table.c.id == bindparam(about)).scalar_subquery()
            for table, about in ((payments, "payment_id"), (refunds, "refund_id"))
        )
    )
)
"""Put together once: that costs more than the statement."""
_RECEIVED = gateway_webhooks.c.received_at
_LISTED = Order(
    (_RECEIVED, gateway_webhooks.c.gateway, gateway_webhooks.c.event_id),
    gateway_webhooks.c.created_xid,
)


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
    values = {
        "gateway": gateway,
        "event_id": event_id,
        "body": body,
        "payment_id": payment_id,
        "refund_id": refund_id,
    }
    stored = (await tx.execute(_STORE, values)).first()
    if stored is None:
        return None
    of_payment, of_refund = stored
    return Stored(
        None if of_payment is None else PaymentStatus(of_payment),
        None if of_refund is None else RefundStatus(of_refund),
    )


async def listed(tx: Transaction, wanted: Wanted, place: Place | None, limit: int) -> Page[Webhook]:
    """What came last first, below a place."""
    query = select(gateway_webhooks).where(
        *matching({gateway_webhooks.c.gateway: wanted.gateway}),
        *within(_RECEIVED, wanted.since, wanted.until),
    )
    return await page(tx, query, _LISTED, place, limit, _webhook)


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(row.gateway, row.event_id, row.body, row.received_at)
