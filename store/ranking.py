"""Popular SKUs: a read model made of `billing.order.completed`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert

from store.database import Transaction
from store.tables import sku_rankings


async def count(tx: Transaction, quantities: Sequence[tuple[str, int]]) -> None:
    """Add one completed order's quantities, given sorted by SKU."""
    for sku, quantity in quantities:
        row = insert(sku_rankings).values(sku=sku, orders=1, quantity=quantity)
        await tx.execute(
            row.on_conflict_do_update(
                index_elements=["sku"],
                set_={
                    "orders": sku_rankings.c.orders + 1,
                    "quantity": sku_rankings.c.quantity + row.excluded.quantity,
                },
            )
        )


async def top(tx: Transaction, limit: int) -> Sequence[Row[Any]]:
    """Most sold first."""
    order = (sku_rankings.c.quantity.desc(), sku_rankings.c.sku)
    return (await tx.execute(select(sku_rankings).order_by(*order).limit(limit))).all()


async def forget(tx: Transaction) -> None:
    """Empty it, to be built again from the outbox."""
    await tx.execute(delete(sku_rankings))
