"""What could not be done and waits for an operator, with everything that is needed to see why."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Transaction
from store.tables import dead_letters


async def put(
    tx: Transaction, id_: str, kind: str, reference: str, reason: str, body: Mapping[str, Any]
) -> bool:
    """False when it is there already."""
    row = insert(dead_letters).values(
        id=id_, kind=kind, reference=reference, reason=reason, body=dict(body)
    )
    return (await tx.execute(row.on_conflict_do_nothing())).rowcount == 1


async def waiting(tx: Transaction) -> Sequence[Row[Any]]:
    """Oldest first."""
    query = select(dead_letters).where(dead_letters.c.resolved_at.is_(None))
    return (await tx.execute(query.order_by(dead_letters.c.created_at))).all()


async def resolve(tx: Transaction, id_: str) -> bool:
    """An operator has seen to it; False when that was noted before."""
    resolved = await tx.execute(
        update(dead_letters)
        .where(dead_letters.c.id == id_, dead_letters.c.resolved_at.is_(None))
        .values(resolved_at=func.now())
    )
    return resolved.rowcount == 1


async def find(tx: Transaction, id_: str) -> Row[Any] | None:
    return (await tx.execute(select(dead_letters).where(dead_letters.c.id == id_))).first()
