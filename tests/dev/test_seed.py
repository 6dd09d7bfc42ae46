"""What a fresh development database holds."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from dev.seed import CUSTOMERS, SKU, seed
from dev.stack import Stack
from domain.access import SYSTEM
from domain.pricing import price
from runtime import schema
from store import customer, inventory, pricing
from store.database import Database
from tests.support.databases import connected, database_of_its_own, named


@pytest.fixture
async def fresh(stack: Stack) -> AsyncIterator[Database]:
    """A database of its own: the others' tests order what the seed puts in stock."""
    name = f"seed_{uuid4().hex}"
    urls = stack.endpoints.database_owner_url, stack.endpoints.database_url
    owner_url, url = (named(each, name) for each in urls)
    async with database_of_its_own(stack.endpoints.database_owner_url, name):
        await asyncio.to_thread(schema.upgrade, owner_url)
        async with connected(url, pool_size=2) as pool:
            yield pool


async def test_the_customers_have_a_card_and_a_plan_with_free_calls(fresh: Database) -> None:
    await seed(fresh)

    async with fresh.engine.connect() as tx:
        plan = await pricing.effective(tx, "standard", datetime(2020, 1, 1, tzinfo=UTC))
        assert plan is not None
        calls = plan.charge("API_CALL")
        assert calls is not None
        assert plan.currency == "KRW"
        assert [price(calls, Decimal(n)).amount for n in (10_000, 10_001, 12_340)] == [0, 1, 2_340]
        for name in CUSTOMERS:
            row = await customer.find(tx, name)
            assert row is not None
            assert (row.prepaid, row.due_days) == (False, 14)
            assert await customer.plan_at(tx, name, datetime(2026, 5, 1, tzinfo=UTC)) == "standard"
            assert await customer.payment_method(tx, name, None) is not None
        stock = await inventory.find(tx, SKU)
    assert stock is not None
    assert (stock.on_hand, stock.reserved) == (1_000_000, 0)


async def test_again_it_changes_nothing_that_was_changed_since(fresh: Database) -> None:
    await seed(fresh)
    async with fresh.begin(SYSTEM) as tx:
        await inventory.put(tx, SKU, 7, withdrawn=False)
        await customer.agree(tx, "demo", due_days=3)
        await customer.assign_plan(tx, "demo", "other", datetime(2026, 1, 1, tzinfo=UTC))
        await pricing.withdraw(tx, "standard", datetime(2026, 1, 1, tzinfo=UTC))

    await seed(fresh)

    async with fresh.engine.connect() as tx:
        stock, demo = await inventory.find(tx, SKU), await customer.find(tx, "demo")
        assert stock is not None
        assert demo is not None
        assert (stock.on_hand, demo.due_days) == (7, 3)
        assert await customer.plan_at(tx, "demo", datetime.now(UTC)) == "other"
        assert len(await pricing.versions(tx, "standard")) == 2
