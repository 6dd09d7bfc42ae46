"""Orders."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, Uuid, and_, bindparam, cast, func, insert, or_, select, update

from domain.customer import PaymentMethod
from domain.order import PAYABLE, Order, OrderLine, OrderStatus, Wanted
from domain.payment import ToPay
from store import page
from store.change import Change
from store.database import Transaction
from store.page import Page, Place, matching, within
from store.tables import inventory, orders, payment_methods

_CARD = tuple(
    payment_methods.c[field.name].label(f"card_{field.name}") for field in fields(PaymentMethod)
)
_LINE = func.jsonb_array_elements(orders.c.lines).column_valued("line")
_TRACKED = func.array(
    select(inventory.c.sku)
    .where(inventory.c.sku.in_(select(_LINE.op("->>")("sku"))))
    .correlate(orders)
    .scalar_subquery()
).label("tracked")
_wanted = cast(bindparam("method_id"), Uuid(as_uuid=False))
_TO_PAY = (
    select(orders, *_CARD, _TRACKED)
    .outerjoin(
        payment_methods,
        and_(
            payment_methods.c.customer_id == orders.c.customer_id,
            or_(
                payment_methods.c.id == _wanted,
                and_(_wanted.is_(None), payment_methods.c.is_default),
            ),
        ),
    )
    .where(orders.c.id == bindparam("order_id"))
)
"""Put together once: that costs more than the statement."""
_LINES = select(orders.c.lines).where(orders.c.id == bindparam("order_id"))
_LISTED = page.Order((orders.c.created_at, orders.c.id), orders.c.created_xid)
_BEGIN_PAYING = """
begun AS (
    UPDATE orders SET status = 'PAYING', review_reason = NULL, updated_at = now()
    WHERE id = CAST(:payable_id AS uuid) AND status = ANY(CAST(:payable_in AS text[]))
    RETURNING id
)"""
_COMPLETE = """
completed_order AS (
    UPDATE orders SET status = 'COMPLETED', review_reason = NULL, updated_at = now()
    WHERE id = CAST(:payable_id AS uuid)
    RETURNING id
)"""
_APPLY_COUPON = """
applied_coupon AS (
    UPDATE orders SET coupon_applied_by = CAST(:payment_id AS uuid)
    WHERE id = CAST(:payable_id AS uuid) AND coupon_code = :coupon_code AND discount = :discount
      AND coupon_applied_by IS NULL
    RETURNING id
)"""


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


async def listed(tx: Transaction, wanted: Wanted, place: Place | None, limit: int) -> Page[Order]:
    """The newest first, below a place."""
    columns = orders.c
    query = select(orders).where(
        *matching({columns.customer_id: wanted.customer_id, columns.status: wanted.status}),
        *within(columns.created_at, wanted.since, wanted.until),
    )
    return await page.page(tx, query, _LISTED, place, limit, _order)


async def to_pay(tx: Transaction, order_id: str, method_id: str | None) -> ToPay | None:
    """An order with the card of this id, or its customer's default one, and what of it is
    counted."""
    values = {"order_id": order_id, "method_id": method_id}
    row = (await tx.execute(_TO_PAY, values)).first()
    if row is None:
        return None
    found = None if row.card_id is None else PaymentMethod(*row[-len(_CARD) - 1 : -1])
    return ToPay(_order(row), found, frozenset(row.tracked))


async def lock_status(tx: Transaction, order_id: str) -> OrderStatus:
    """As it stands; its row is locked to the commit, so that it stands so when that is told."""
    query = select(orders.c.status).where(orders.c.id == order_id).with_for_update()
    return OrderStatus((await tx.execute(query)).scalar_one())


async def begin_paying(tx: Transaction, order_id: str) -> bool:
    """CREATED or FAILED → PAYING; False from every other state. Locks the row to the commit."""
    begun = await tx.execute(
        update(orders)
        .where(orders.c.id == order_id, orders.c.status.in_(PAYABLE))
        .values(status=OrderStatus.PAYING, review_reason=None, updated_at=func.now())
    )
    return begun.rowcount == 1


def beginning_to_pay(order_id: str) -> Change:
    """The same as a part of a statement."""
    return Change("begun", _BEGIN_PAYING, 1, {"payable_id": order_id, "payable_in": list(PAYABLE)})


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


def completing(order_id: str) -> Change:
    """The same as a part of a statement, without the lines, which are fixed."""
    return Change("completed_order", _COMPLETE, 1, {"payable_id": order_id})


async def lines(tx: Transaction, order_id: str) -> tuple[OrderLine, ...]:
    """What was ordered."""
    return _lines((await tx.execute(_LINES, {"order_id": order_id})).scalar_one())


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


def applying_coupon(order_id: str, payment_id: str, coupon_code: str, discount: int) -> Change:
    """The same as a part of a statement, where no run has done it."""
    values = {
        "payable_id": order_id,
        "payment_id": payment_id,
        "coupon_code": coupon_code,
        "discount": discount,
    }
    return Change("applied_coupon", _APPLY_COUPON, 1, values)


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
