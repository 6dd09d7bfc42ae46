"""Payments that have ended and whose PG is still asked whether it took the money late."""

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.gateway import Operation
from domain.payment import Watch
from store.database import Transaction
from store.tables import watches


async def begin(tx: Transaction, payment_id: str, watch: Watch) -> None:
    """Stands from the transaction that ends the payment, so that whatever becomes of its workflow,
    the sweeper goes on watching."""
    row = insert(watches).values(
        payment_id=payment_id, operation=watch.operation, until=watch.until
    )
    await tx.execute(row.on_conflict_do_nothing())


async def of(tx: Transaction, payment_id: str) -> Watch | None:
    """The watch of this payment, while it lasts."""
    query = select(watches).where(watches.c.payment_id == payment_id, watches.c.ended_at.is_(None))
    row = (await tx.execute(query)).first()
    return None if row is None else Watch(Operation(row.operation), row.until)


async def end(tx: Transaction, payment_id: str) -> None:
    """Nothing can come of it any more, or what came was given back."""
    await tx.execute(
        update(watches)
        .where(watches.c.payment_id == payment_id, watches.c.ended_at.is_(None))
        .values(ended_at=func.now())
    )


async def count_open(tx: Transaction) -> int:
    """How many payments are watched."""
    query = select(func.count()).where(watches.c.ended_at.is_(None))
    return (await tx.execute(query)).scalar_one()
