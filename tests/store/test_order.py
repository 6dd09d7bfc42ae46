"""Orders: their totals are fixed, and one payment at a time owns them."""

import asyncio

import pytest

from domain.access import SYSTEM
from domain.order import PAYABLE, Order, OrderLine, OrderStatus
from store import order
from store.database import Database
from tests.support.samples import new_customer, new_id


async def create(database: Database) -> str:
    order_id = new_id()
    lines = [OrderLine("SKU-1", 2, 1_000), OrderLine("SKU-2", 1, 0)]
    async with database.begin(SYSTEM) as tx:
        await order.create(tx, order_id, new_customer(), "KRW", lines, 2_000)
    return order_id


async def found(database: Database, order_id: str) -> Order:
    async with database.engine.connect() as tx:
        row = await order.find(tx, order_id)
    assert row is not None
    return row


async def test_an_order_is_stored_with_its_lines_in_order(database: Database) -> None:
    row = await found(database, await create(database))

    assert (row.status, row.amount, row.currency) == ("CREATED", 2_000, "KRW")
    assert row.lines == (OrderLine("SKU-1", 2, 1_000), OrderLine("SKU-2", 1, 0))


async def test_of_16_concurrent_payers_one_gets_the_order(database: Database) -> None:
    order_id = await create(database)

    async def begin() -> bool:
        async with database.begin(SYSTEM) as tx:
            return await order.begin_paying(tx, order_id)

    assert (await asyncio.gather(*(begin() for _ in range(16)))).count(True) == 1


@pytest.mark.parametrize("status", OrderStatus)
async def test_paying_begins_from_the_payable_states_only(
    database: Database, status: OrderStatus
) -> None:
    order_id = await create(database)
    async with database.begin(SYSTEM) as tx:
        await order.set_status(tx, order_id, status, "a reason")
        assert await order.begin_paying(tx, order_id) == (status in PAYABLE)

    row = await found(database, order_id)
    expected = ("PAYING", None) if status in PAYABLE else (status, "a reason")
    assert (row.status, row.review_reason) == expected


async def test_an_order_that_is_not_there_cannot_be_paid(database: Database) -> None:
    async with database.begin(SYSTEM) as tx:
        assert await order.find(tx, new_id()) is None
        assert not await order.begin_paying(tx, new_id())
