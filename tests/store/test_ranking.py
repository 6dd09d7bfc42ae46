"""The ranking of SKUs: counts add up, whoever counts at the same time."""

import asyncio
from uuid import uuid4

from sqlalchemy import select

from domain.access import SYSTEM
from domain.ranking import Sold
from store import ranking
from store.database import Database
from store.tables import sku_rankings


async def test_counts_of_many_at_once_add_up(database: Database) -> None:
    first, second = (f"S-{uuid4().hex}" for _ in range(2))

    async def count(number: int) -> None:
        skus = (first, second) if number % 2 else (second, first)
        async with database.begin(SYSTEM) as tx:
            await ranking.count(tx, {sku: Sold(orders=1, quantity=3) for sku in skus})

    await asyncio.gather(*map(count, range(40)))

    async with database.engine.connect() as tx:
        query = select(sku_rankings).where(sku_rankings.c.sku.in_([first, second]))
        rows = (await tx.execute(query)).all()
    assert {row.sku: (row.orders, row.quantity) for row in rows} == {
        first: (40, 120),
        second: (40, 120),
    }


async def test_the_most_sold_come_first(database: Database) -> None:
    async with database.begin(SYSTEM) as tx:
        await ranking.count(tx, {f"S-{uuid4().hex}": Sold(1, pieces) for pieces in (7, 9, 8)})
        top = await ranking.top(tx, 3)

    assert [row.quantity for row in top] == sorted((row.quantity for row in top), reverse=True)
    assert len(top) == 3
