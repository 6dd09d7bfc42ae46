"""Wallet top-ups: one by card is the payable of a payment, a bank transfer is booked at once."""

from typing import Any

from sqlalchemy import Row, insert, select

from domain.top_up import Source, TopUp
from store.database import Transaction
from store.tables import top_ups


async def create(
    tx: Transaction, top_up_id: str, customer_id: str, currency: str, amount: int, source: Source
) -> TopUp:
    """Insert a top-up and return it."""
    row = insert(top_ups).values(
        id=top_up_id,
        customer_id=customer_id,
        currency=currency,
        amount=amount,
        source=source,
    )
    return _top_up((await tx.execute(row.returning(top_ups))).one())


async def find(tx: Transaction, top_up_id: str) -> TopUp | None:
    row = (await tx.execute(select(top_ups).where(top_ups.c.id == top_up_id))).first()
    return None if row is None else _top_up(row)


def _top_up(row: Row[Any]) -> TopUp:
    return TopUp(
        id=row.id,
        customer_id=row.customer_id,
        currency=row.currency,
        amount=row.amount,
        source=Source(row.source),
        created_at=row.created_at,
    )
