"""Refunds."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.event import Origin
from domain.funding import by_kind
from domain.refund import (
    FINAL,
    FailedRefund,
    Refund,
    RefundRequest,
    RefundStatus,
    Wanted,
    late_capture_refund_id,
)
from domain.waits import Waits
from store.database import Transaction
from store.page import Order, Page, Place, matching, page, within
from store.tables import refunds

_OPEN = refunds.c.status.not_in(FINAL)
_LISTED = Order((refunds.c.created_at, refunds.c.id), refunds.c.created_xid)


async def create(tx: Transaction, refund: RefundRequest) -> bool:
    """Insert a refund in state PENDING; False when it is there already."""
    row = insert(refunds).values(
        id=refund.refund_id,
        payment_id=refund.payment_id,
        customer_id=refund.customer_id,
        currency=refund.currency,
        **{f"{kind}_amount": amount for kind, amount in by_kind(refund.parts).items()},
        gateway=refund.gateway,
        reason=refund.reason,
        status=RefundStatus.PENDING,
        idempotency_key=refund.origin.idempotency_key,
        traceparent=refund.origin.traceparent,
    )
    return (await tx.execute(row.on_conflict_do_nothing())).rowcount == 1


async def find(tx: Transaction, refund_id: str) -> Refund | None:
    row = (await tx.execute(select(refunds).where(refunds.c.id == refund_id))).first()
    return None if row is None else _refund(row)


async def of_payment(tx: Transaction, payment_id: str) -> list[Refund]:
    query = select(refunds).where(refunds.c.payment_id == payment_id)
    rows = await tx.execute(query.order_by(refunds.c.created_at, refunds.c.id))
    return [_refund(row) for row in rows]


async def listed(tx: Transaction, wanted: Wanted, place: Place | None, limit: int) -> Page[Refund]:
    """The newest first, below a place."""
    columns = refunds.c
    named = {
        columns.customer_id: wanted.customer_id,
        columns.payment_id: wanted.payment_id,
        columns.status: wanted.status,
    }
    in_time = within(columns.created_at, wanted.since, wanted.until)
    query = select(refunds).where(*matching(named), *in_time)
    return await page(tx, query, _LISTED, place, limit, _refund)


async def mark(
    tx: Transaction, refund_id: str, status: RefundStatus, review_reason: str | None = None
) -> bool:
    """Set a status that is not final; False when the refund has ended already."""
    return await _update(tx, refund_id, status, {"review_reason": review_reason})


async def complete(tx: Transaction, refund_id: str, gateway_reference: str | None) -> bool:
    """→ COMPLETED; False when it has ended already."""
    values = {"gateway_reference": gateway_reference, "review_reason": None}
    return await _update(tx, refund_id, RefundStatus.COMPLETED, values)


async def fail(tx: Transaction, failed: FailedRefund) -> bool:
    """→ FAILED; False when it has ended already."""
    values = {
        "failure_code": failed.code,
        "failure_message": failed.message,
        "gateway_code": failed.gateway_code,
        "review_reason": None,
    }
    return await _update(tx, failed.refund.refund_id, RefundStatus.FAILED, values)


async def _update(
    tx: Transaction, refund_id: str, status: RefundStatus, values: dict[str, str | None]
) -> bool:
    updated = await tx.execute(
        update(refunds)
        .where(refunds.c.id == refund_id, _OPEN)
        .values(status=status, updated_at=func.now(), **values)
    )
    return updated.rowcount == 1


async def open_since(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> list[Refund]:
    """Refunds without a final status, in id order after `after_id`: what the sweeper looks at."""
    query = select(refunds).where(_OPEN, refunds.c.created_at < created_before)
    if after_id is not None:
        query = query.where(refunds.c.id > after_id)
    return [_refund(row) for row in await tx.execute(query.order_by(refunds.c.id).limit(limit))]


def request(refund: Refund, waits: Waits) -> RefundRequest:
    """The input of the saga as the row remembers it: what the sweeper starts again."""
    return RefundRequest(
        refund_id=refund.id,
        payment_id=refund.payment_id,
        customer_id=refund.customer_id,
        currency=refund.currency,
        card_amount=refund.card_amount,
        wallet_amount=refund.wallet_amount,
        points_amount=refund.points_amount,
        gateway=refund.gateway,
        reason=refund.reason,
        late_capture=refund.id == late_capture_refund_id(refund.payment_id),
        origin=Origin(refund.idempotency_key, refund.traceparent),
        waits=waits,
    )


def _refund(row: Row[Any]) -> Refund:
    return Refund(
        id=row.id,
        payment_id=row.payment_id,
        customer_id=row.customer_id,
        currency=row.currency,
        card_amount=row.card_amount,
        wallet_amount=row.wallet_amount,
        points_amount=row.points_amount,
        gateway=row.gateway,
        reason=row.reason,
        status=RefundStatus(row.status),
        failure_code=row.failure_code,
        failure_message=row.failure_message,
        gateway_code=row.gateway_code,
        gateway_reference=row.gateway_reference,
        review_reason=row.review_reason,
        idempotency_key=row.idempotency_key,
        traceparent=row.traceparent,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
