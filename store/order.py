"""Orders."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update

from domain.order import PAYABLE, Order, OrderLine, OrderStatus
from store.database import Transaction
from store.tables import orders


async def create(
    tx: Transaction,
    order_id: str,
    customer_id: str,
    currency: str,
    lines: Sequence[OrderLine],
    amount: int,
    coupon_code: str | None = None,
    discount: int = 0,
    points: int = 0,
) -> Order:
    """Insert an order in state CREATED and return it."""
    row = insert(orders).values(
        id=order_id,
        customer_id=customer_id,
        currency=currency,
        lines=[line.to_json() for line in lines],
        amount=amount,
        coupon_code=coupon_code,
        discount=discount,
        points=points,
        status=OrderStatus.CREATED,
    )
    return _order((await tx.execute(row.returning(orders))).one())


async def find(tx: Transaction, order_id: str) -> Order | None:
    row = (await tx.execute(select(orders).where(orders.c.id == order_id))).first()
    return None if row is None else _order(row)


async def begin_paying(tx: Transaction, order_id: str) -> bool:
    """CREATED or FAILED → PAYING; False from every other state. Locks the row to the commit."""
    begun = await tx.execute(
        update(orders)
        .where(orders.c.id == order_id, orders.c.status.in_(PAYABLE))
        .values(status=OrderStatus.PAYING, review_reason=None, updated_at=func.now())
    )
    return begun.rowcount == 1


async def set_status(
    tx: Transaction, order_id: str, status: OrderStatus, review_reason: str | None = None
) -> None:
    """To be called by the owner of the order only: its live payment."""
    await tx.execute(
        update(orders)
        .where(orders.c.id == order_id)
        .values(status=status, review_reason=review_reason, updated_at=func.now())
    )


async def complete(tx: Transaction, order_id: str) -> tuple[OrderLine, ...]:
    """→ COMPLETED; returns the lines."""
    done = await tx.execute(
        update(orders)
        .where(orders.c.id == order_id)
        .values(status=OrderStatus.COMPLETED, review_reason=None, updated_at=func.now())
        .returning(orders.c.lines)
    )
    return _lines(done.scalar_one())


async def apply_coupon(
    tx: Transaction, order_id: str, payment_id: str, coupon_code: str, discount: int
) -> bool:
    """Confirm the discount for this payment; False unless the order carries exactly this one."""
    applied = await tx.execute(
        update(orders)
        .where(
            orders.c.id == order_id,
            orders.c.coupon_code == coupon_code,
            orders.c.discount == discount,
            or_(orders.c.coupon_applied_by.is_(None), orders.c.coupon_applied_by == payment_id),
        )
        .values(coupon_applied_by=payment_id)
    )
    return applied.rowcount == 1


async def remove_coupon(tx: Transaction, order_id: str, payment_id: str) -> bool:
    """Undo `apply_coupon` of this payment; False when there is nothing to undo, which is so of a
    completed order: an undo can come in a run that was overtaken by its own completion."""
    removed = await tx.execute(
        update(orders)
        .where(
            orders.c.id == order_id,
            orders.c.coupon_applied_by == payment_id,
            orders.c.status != OrderStatus.COMPLETED,
        )
        .values(coupon_applied_by=None)
    )
    return removed.rowcount == 1


def _order(row: Row[Any]) -> Order:
    return Order(
        id=row.id,
        customer_id=row.customer_id,
        currency=row.currency,
        lines=_lines(row.lines),
        amount=row.amount,
        coupon_code=row.coupon_code,
        discount=row.discount,
        points=row.points,
        coupon_applied_by=row.coupon_applied_by,
        status=OrderStatus(row.status),
        review_reason=row.review_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _lines(stored: Sequence[Mapping[str, Any]]) -> tuple[OrderLine, ...]:
    return tuple(OrderLine.from_json(line) for line in stored)
