"""Stock per SKU and what payments have reserved of it."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from domain.errors import HoldReleased
from domain.inventory import Reservation, ReservationState, Stock
from domain.payment import StockLine
from store.change import Change
from store.database import Transaction
from store.tables import inventory, stock_reservations

HELD = frozenset({ReservationState.RESERVED, ReservationState.COMMITTED})
"""What is set aside for a payment, or sold to it."""

_RESERVE = text("""
WITH taken AS (
    UPDATE inventory SET reserved = reserved + :quantity, updated_at = now()
    WHERE sku = :sku AND NOT withdrawn AND on_hand - reserved >= :quantity
      AND NOT EXISTS (
        SELECT FROM stock_reservations
        WHERE payment_id = CAST(:payment_id AS uuid) AND sku = :sku
      )
    RETURNING sku
)
INSERT INTO stock_reservations (payment_id, sku, quantity, state)
SELECT CAST(:payment_id AS uuid), sku, :quantity, 'RESERVED' FROM taken
RETURNING sku
""")


_LOCK = """
locked_stock AS (
    SELECT sku FROM inventory WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR UPDATE
)"""
_TAKE = """
taken_stock AS (
    UPDATE inventory SET reserved = reserved + wanted.quantity, updated_at = now()
    FROM unnest(CAST(:skus AS text[]), CAST(:quantities AS bigint[])) AS wanted (sku, quantity)
    WHERE inventory.sku = wanted.sku AND NOT withdrawn AND on_hand - reserved >= wanted.quantity
    RETURNING inventory.sku, wanted.quantity
), reserved_stock AS (
    INSERT INTO stock_reservations (payment_id, sku, quantity, state)
    SELECT CAST(:payment_id AS uuid), sku, quantity, 'RESERVED' FROM taken_stock
    RETURNING sku
)"""
_SELL = """
sold AS (
    UPDATE stock_reservations SET state = 'COMMITTED', resolution = NULL
    WHERE payment_id = CAST(:payment_id AS uuid) AND state = 'RESERVED'
    RETURNING sku, quantity
), sold_stock AS (
    UPDATE inventory
    SET on_hand = on_hand - quantity, reserved = reserved - quantity, updated_at = now()
    FROM sold WHERE inventory.sku = sold.sku
    RETURNING inventory.sku
)"""


async def put(tx: Transaction, sku: str, on_hand: int, withdrawn: bool) -> bool:
    """Set the stock of a SKU; True when it was not tracked before. Less than what is reserved
    violates a constraint: `IntegrityError`."""
    values = {"on_hand": on_hand, "withdrawn": withdrawn}
    made = await tx.execute(insert(inventory).values(sku=sku, **values).on_conflict_do_nothing())
    if made.rowcount == 1:
        return True
    changed = update(inventory).where(inventory.c.sku == sku)
    await tx.execute(changed.values(**values, updated_at=func.now()))
    return False


async def find(tx: Transaction, sku: str) -> Stock | None:
    row = (await tx.execute(select(inventory).where(inventory.c.sku == sku))).first()
    return None if row is None else _stock(row)


async def reserve(tx: Transaction, payment_id: str, line: StockLine) -> bool:
    """Take from what is available; False when there is too little, or nothing to do.

    Two concurrent reservations of one payment cannot both take: the second insert violates the
    primary key, which rolls its whole statement back.
    """
    taken = await tx.execute(
        _RESERVE, {"payment_id": payment_id, "sku": line.sku, "quantity": line.quantity}
    )
    return taken.first() is not None


def reserving(payment_id: str, stock: Sequence[StockLine]) -> tuple[Change, Change]:
    """The same as parts of a statement, for all of them."""
    values = {
        "payment_id": payment_id,
        "skus": [line.sku for line in stock],
        "quantities": [line.quantity for line in stock],
    }
    return _locking(stock), Change("reserved_stock", _TAKE, len(stock), values)


async def reservations(tx: Transaction, payment_id: str) -> dict[str, ReservationState]:
    """State by SKU."""
    query = select(stock_reservations).where(stock_reservations.c.payment_id == payment_id)
    return {row.sku: ReservationState(row.state) for row in await tx.execute(query)}


async def bury(tx: Transaction, payment_id: str, stock: Iterable[StockLine]) -> None:
    """Leave a tombstone for whatever is not reserved, so that a late reservation does nothing.

    Locks the stock before the reservations, as `reserve` does: no deadlock.
    """
    stock = list(stock)
    skus = select(inventory.c.sku).where(inventory.c.sku.in_([line.sku for line in stock]))
    await tx.execute(skus.order_by(inventory.c.sku).with_for_update())
    rows = [
        {
            "payment_id": payment_id,
            "sku": line.sku,
            "quantity": line.quantity,
            "state": ReservationState.RESTORED,
        }
        for line in stock
    ]
    await tx.execute(insert(stock_reservations).on_conflict_do_nothing(), rows)


async def restore(tx: Transaction, payment_id: str) -> tuple[int, int]:
    """Give back what is reserved; returns how many SKUs were given back and how many could not be,
    because they were withdrawn meanwhile: those wait for a person."""
    restored = stuck = 0
    for sku, quantity in await _reserved(tx, payment_id):
        given_back = await tx.execute(
            update(inventory)
            .where(inventory.c.sku == sku, ~inventory.c.withdrawn)
            .values(reserved=inventory.c.reserved - quantity, updated_at=func.now())
        )
        back = given_back.rowcount == 1
        restored, stuck = restored + back, stuck + (not back)
        state = ReservationState.RESTORED if back else ReservationState.NEEDS_REVIEW
        await _end(tx, payment_id, sku, state)
    return restored, stuck


async def commit(tx: Transaction, payment_id: str) -> None:
    """The order is paid: what was reserved leaves the stock. Raises `HoldReleased` where an earlier
    run gave it back."""
    reserved = await _reserved(tx, payment_id)
    if not reserved and not HELD.issuperset((await reservations(tx, payment_id)).values()):
        raise HoldReleased("An earlier run of this payment gave its stock back.")
    for sku, quantity in reserved:
        await tx.execute(
            update(inventory)
            .where(inventory.c.sku == sku)
            .values(
                on_hand=inventory.c.on_hand - quantity,
                reserved=inventory.c.reserved - quantity,
                updated_at=func.now(),
            )
        )
        await _end(tx, payment_id, sku, ReservationState.COMMITTED)


def committing(payment_id: str, stock: Sequence[StockLine]) -> tuple[Change, Change]:
    """The same as parts of a statement."""
    return _locking(stock), Change("sold_stock", _SELL, len(stock), {"payment_id": payment_id})


def _locking(stock: Sequence[StockLine]) -> Change:
    """In the order in which everybody locks them: no deadlock."""
    return Change("locked_stock", _LOCK, len(stock), {"skus": [line.sku for line in stock]})


async def in_review(tx: Transaction) -> list[Reservation]:
    """Reservations that could not be given back, oldest first."""
    query = select(stock_reservations).where(
        stock_reservations.c.state == ReservationState.NEEDS_REVIEW
    )
    rows = await tx.execute(query.order_by(stock_reservations.c.created_at))
    return [_reservation(row) for row in rows]


async def resolve(tx: Transaction, payment_id: str, resolution: str) -> int:
    """A person has seen to it: what could not be given back is let go, and why is kept; returns of
    how many SKUs."""
    query = select(stock_reservations).where(
        stock_reservations.c.payment_id == payment_id,
        stock_reservations.c.state == ReservationState.NEEDS_REVIEW,
    )
    found = (await tx.execute(query.order_by("sku").with_for_update())).all()
    for row in found:
        await tx.execute(
            update(inventory)
            .where(inventory.c.sku == row.sku)
            .values(reserved=inventory.c.reserved - row.quantity, updated_at=func.now())
        )
        await _end(tx, payment_id, row.sku, ReservationState.RESTORED, resolution)
    return len(found)


async def _reserved(tx: Transaction, payment_id: str) -> list[tuple[str, int]]:
    query = select(stock_reservations.c.sku, stock_reservations.c.quantity).where(
        stock_reservations.c.payment_id == payment_id,
        stock_reservations.c.state == ReservationState.RESERVED,
    )
    rows = await tx.execute(query.order_by(stock_reservations.c.sku).with_for_update())
    return [(row.sku, row.quantity) for row in rows]


async def _end(
    tx: Transaction,
    payment_id: str,
    sku: str,
    state: ReservationState,
    resolution: str | None = None,
) -> None:
    await tx.execute(
        update(stock_reservations)
        .where(stock_reservations.c.payment_id == payment_id, stock_reservations.c.sku == sku)
        .values(state=state, resolution=resolution)
    )


def _stock(row: Row[Any]) -> Stock:
    return Stock(row.sku, row.on_hand, row.reserved, row.withdrawn, row.updated_at)


def _reservation(row: Row[Any]) -> Reservation:
    return Reservation(
        payment_id=row.payment_id,
        sku=row.sku,
        quantity=row.quantity,
        state=ReservationState(row.state),
        resolution=row.resolution,
        created_at=row.created_at,
    )
