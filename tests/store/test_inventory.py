"""Stock: never below zero, given back once, and what cannot be given back waits for a person."""

import asyncio
from uuid import uuid4

from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from domain.inventory import ReservationState
from domain.payment import StockLine
from store import inventory
from store.database import Database
from tests.support.databases import crowd
from tests.support.samples import new_id


async def a_sku(database: Database, on_hand: int) -> str:
    sku = f"S-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        assert await inventory.put(tx, sku, on_hand, withdrawn=False)
    return sku


async def stock(database: Database, sku: str) -> tuple[int, int]:
    """(on hand, reserved)."""
    async with database.engine.connect() as tx:
        row = await inventory.find(tx, sku)
    assert row is not None
    return row.on_hand, row.reserved


async def reserve(database: Database, payment_id: str, line: StockLine) -> bool:
    async with database.begin(SYSTEM) as tx:
        return await inventory.reserve(tx, payment_id, line)


async def restore(database: Database, payment_id: str, line: StockLine) -> tuple[int, int]:
    async with database.begin(SYSTEM) as tx:
        await inventory.bury(tx, payment_id, [line])
        return await inventory.restore(tx, payment_id)


async def state(database: Database, payment_id: str, sku: str) -> ReservationState | None:
    async with database.engine.connect() as tx:
        return (await inventory.reservations(tx, payment_id)).get(sku)


async def test_a_thousand_reservations_of_a_hundred_pieces_get_exactly_a_hundred(
    database: Database,
) -> None:
    sku = await a_sku(database, 100)

    got = await crowd(reserve(database, new_id(), StockLine(sku, 1)) for _ in range(1000))

    assert got.count(True) == 100
    assert await stock(database, sku) == (100, 100)


async def test_a_reservation_takes_all_its_pieces_or_none(database: Database) -> None:
    sku = await a_sku(database, 10)

    got = await asyncio.gather(*(reserve(database, new_id(), StockLine(sku, 3)) for _ in range(20)))

    assert got.count(True) == 3
    assert await stock(database, sku) == (10, 9)


async def test_concurrent_duplicates_of_a_reservation_take_once(database: Database) -> None:
    sku, payment_id = await a_sku(database, 10), new_id()

    results = await asyncio.gather(
        *(reserve(database, payment_id, StockLine(sku, 1)) for _ in range(16)),
        return_exceptions=True,
    )

    assert results.count(True) == 1
    assert all(isinstance(each, bool | IntegrityError) for each in results), results
    assert await stock(database, sku) == (10, 1)


async def test_a_restore_that_comes_first_leaves_a_tombstone(database: Database) -> None:
    sku, payment_id = await a_sku(database, 10), new_id()
    line = StockLine(sku, 2)

    assert await restore(database, payment_id, line) == (0, 0)
    assert not await reserve(database, payment_id, line), "the late reservation takes nothing"

    assert await stock(database, sku) == (10, 0)


async def test_what_was_reserved_is_given_back_once(database: Database) -> None:
    sku, payment_id = await a_sku(database, 10), new_id()
    line = StockLine(sku, 2)
    await reserve(database, payment_id, line)

    given_back = await asyncio.gather(*(restore(database, payment_id, line) for _ in range(8)))

    assert sorted(given_back) == [(0, 0)] * 7 + [(1, 0)]
    assert await stock(database, sku) == (10, 0)


async def test_what_is_paid_leaves_the_stock_and_is_not_given_back(database: Database) -> None:
    sku, payment_id = await a_sku(database, 10), new_id()
    line = StockLine(sku, 2)
    await reserve(database, payment_id, line)

    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            await inventory.commit(tx, payment_id)
    assert await restore(database, payment_id, line) == (0, 0)

    assert await stock(database, sku) == (8, 0)
    assert await state(database, payment_id, sku) is ReservationState.COMMITTED


async def test_reservations_and_restores_at_once_leave_nothing_reserved(database: Database) -> None:
    sku = await a_sku(database, 5)
    payments = [new_id() for _ in range(20)]
    line = StockLine(sku, 1)

    racing = [
        each(database, payment_id, line)
        for payment_id in payments
        for each in (reserve, restore, reserve, restore)
    ]
    results = await asyncio.gather(*racing, return_exceptions=True)

    faults = [each for each in results if isinstance(each, BaseException)]
    assert all(isinstance(each, IntegrityError) for each in faults), faults
    for payment_id in payments:
        await restore(database, payment_id, line)
    assert await stock(database, sku) == (5, 0)


async def test_a_withdrawn_sku_is_not_sold_and_waits_for_a_person(database: Database) -> None:
    sku, payment_id = await a_sku(database, 10), new_id()
    line = StockLine(sku, 2)
    await reserve(database, payment_id, line)
    async with database.begin(SYSTEM) as tx:
        await inventory.put(tx, sku, 10, withdrawn=True)

    assert not await reserve(database, new_id(), line)
    assert await restore(database, payment_id, line) == (0, 1)
    assert await restore(database, payment_id, line) == (0, 0), "a second undo changes nothing"
    assert await state(database, payment_id, sku) is ReservationState.NEEDS_REVIEW
    async with database.engine.connect() as tx:
        waiting = [(row.payment_id, row.sku) for row in await inventory.in_review(tx)]
    assert (payment_id, sku) in waiting
    assert await stock(database, sku) == (10, 2)

    for expected in (1, 0):
        async with database.begin(SYSTEM) as tx:
            assert await inventory.resolve(tx, payment_id, "counted") == expected
    assert await stock(database, sku) == (10, 0)
    assert await state(database, payment_id, sku) is ReservationState.RESTORED
