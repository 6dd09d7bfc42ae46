"""Customers and their cards."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from store import customer
from store.database import Database
from store.key_ring import NO_KEYS
from tests.support.samples import new_customer, new_id

SECOND = timedelta(seconds=1)


async def a_customer(database: Database) -> str:
    customer_id = new_customer()
    async with database.begin(SYSTEM) as tx:
        assert await customer.put(tx, customer_id)
    return customer_id


async def add_card(database: Database, customer_id: str, is_default: bool = True) -> str:
    method_id = new_id()
    async with database.begin(SYSTEM) as tx:
        await customer.add_payment_method(
            tx, method_id, customer_id, "simulator", "bk_1", "4242", is_default, NO_KEYS
        )
    return method_id


async def default_card(database: Database, customer_id: str) -> str | None:
    async with database.engine.connect() as tx:
        row = await customer.payment_method(tx, customer_id, None)
    return None if row is None else str(row.id)


async def test_a_customer_is_made_once(database: Database) -> None:
    customer_id = new_customer()

    async def put() -> bool:
        async with database.begin(SYSTEM) as tx:
            return await customer.put(tx, customer_id)

    assert (await asyncio.gather(*(put() for _ in range(8)))).count(True) == 1


async def test_a_plan_holds_from_its_moment_until_the_next_and_the_last_word_counts(
    database: Database,
) -> None:
    customer_id = await a_customer(database)
    june, july = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    async with database.begin(SYSTEM) as tx:
        for code, since in (("a", june), ("b", july), ("c", july), ("a", june)):
            await customer.assign_plan(tx, customer_id, code, since)
        found = [
            await customer.plan_at(tx, customer_id, moment)
            for moment in (june - SECOND, june, july - SECOND, july)
        ]

    assert found == [None, "a", "a", "c"]


async def test_a_new_default_card_replaces_the_one_before(database: Database) -> None:
    customer_id = await a_customer(database)
    assert await default_card(database, customer_id) is None

    await add_card(database, customer_id)
    second = await add_card(database, customer_id)
    await add_card(database, customer_id, is_default=False)

    assert await default_card(database, customer_id) == second


@pytest.mark.parametrize("cards_before", [0, 1])
async def test_of_cards_added_at_once_as_default_every_one_is_kept_and_one_is_it(
    database: Database, cards_before: int
) -> None:
    customer_id = await a_customer(database)
    for _ in range(cards_before):
        await add_card(database, customer_id)

    added = await asyncio.gather(*(add_card(database, customer_id) for _ in range(8)))

    assert await default_card(database, customer_id) in added


async def test_nobody_pays_with_another_customers_card(database: Database) -> None:
    mine, other = await a_customer(database), await a_customer(database)
    card = await add_card(database, mine)

    async with database.engine.connect() as tx:
        assert await customer.payment_method(tx, mine, card) is not None
        assert await customer.payment_method(tx, other, card) is None


async def test_a_card_belongs_to_a_customer_that_is_there(database: Database) -> None:
    with pytest.raises(IntegrityError, match="fk_payment_methods_customer_id_customers"):
        await add_card(database, new_customer())
