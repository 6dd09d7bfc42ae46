"""Popular SKUs: a read model made of `billing.order.completed`."""

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from domain.ranking import Ranked, Sold
from store.change import Change
from store.database import Transaction
from store.tables import sku_rankings

_COUNT = """
ranked AS (
    INSERT INTO sku_rankings AS current (sku, orders, quantity)
    SELECT * FROM unnest(
        CAST(:sold_skus AS text[]), CAST(:sold_orders AS bigint[]),
        CAST(:sold_quantities AS bigint[])
    )
    ON CONFLICT (sku) DO UPDATE
    SET orders = current.orders + excluded.orders, quantity = current.quantity + excluded.quantity
    RETURNING sku
)"""


async def count(tx: Transaction, sold: Mapping[str, Sold]) -> None:
    """Add what was sold, locking rows in the order of their SKUs."""
    for sku, more in sorted(sold.items()):
        row = insert(sku_rankings).values(sku=sku, orders=more.orders, quantity=more.quantity)
        await tx.execute(
            row.on_conflict_do_update(
                index_elements=["sku"],
                set_={
                    "orders": sku_rankings.c.orders + row.excluded.orders,
                    "quantity": sku_rankings.c.quantity + row.excluded.quantity,
                },
            )
        )


def counting(sold: Mapping[str, Sold]) -> Change:
    """The same as a part of a statement."""
    skus = sorted(sold)
    values = {
        "sold_skus": skus,
        "sold_orders": [sold[sku].orders for sku in skus],
        "sold_quantities": [sold[sku].quantity for sku in skus],
    }
    return Change("ranked", _COUNT, len(skus), values)


async def top(tx: Transaction, limit: int) -> list[Ranked]:
    """Most sold first."""
    order = (sku_rankings.c.quantity.desc(), sku_rankings.c.sku)
    rows = await tx.execute(select(sku_rankings).order_by(*order).limit(limit))
    return [Ranked(row.orders, row.quantity, row.sku) for row in rows]


async def forget(tx: Transaction) -> None:
    """Empty it, to be built again from the outbox."""
    await tx.execute(delete(sku_rankings))
