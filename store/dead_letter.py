"""What could not be done and waits for an operator, with everything that is needed to see why."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.dead_letter import DeadLetter
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


async def waiting(tx: Transaction) -> list[DeadLetter]:
    """Oldest first."""
    query = select(dead_letters).where(dead_letters.c.resolved_at.is_(None))
    rows = await tx.execute(query.order_by(dead_letters.c.created_at))
    return [_dead_letter(row) for row in rows]


async def count_waiting(tx: Transaction) -> dict[str, int]:
    """How many wait, by kind."""
    query = select(dead_letters.c.kind, func.count()).where(dead_letters.c.resolved_at.is_(None))
    rows = await tx.execute(query.group_by(dead_letters.c.kind))
    return dict(rows.all())


async def resolve(tx: Transaction, id_: str) -> bool:
    """An operator has seen to it; False when that was noted before."""
    resolved = await tx.execute(
        update(dead_letters)
        .where(dead_letters.c.id == id_, dead_letters.c.resolved_at.is_(None))
        .values(resolved_at=func.now())
    )
    return resolved.rowcount == 1


async def find(tx: Transaction, id_: str) -> DeadLetter | None:
    row = (await tx.execute(select(dead_letters).where(dead_letters.c.id == id_))).first()
    return None if row is None else _dead_letter(row)


def _dead_letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        kind=row.kind,
        reference=row.reference,
        reason=row.reason,
        body=row.body,
        created_at=row.created_at,
        resolved_at=row.resolved_at,
    )
