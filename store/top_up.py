"""Wallet top-ups: one by card is the payable of a payment, a bank transfer is booked at once."""

from typing import Any

from sqlalchemy import Row, insert, select

from domain.top_up import TopUp
from store.database import Transaction
from store.tables import top_ups


async def create(tx: Transaction, top_up: TopUp) -> None:
    await tx.execute(
        insert(top_ups).values(
            id=top_up.id,
            customer_id=top_up.customer_id,
            currency=top_up.currency,
            amount=top_up.amount,
            source=top_up.source.value,
        )
    )


async def find(tx: Transaction, top_up_id: str) -> Row[Any] | None:
    return (await tx.execute(select(top_ups).where(top_ups.c.id == top_up_id))).first()
