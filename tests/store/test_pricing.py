"""Versions of a price list: added, never changed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from domain.access import SYSTEM
from domain.pricing import Charge, ChargeModel, Plan
from store import pricing
from store.database import Database
from store.tables import pricing_plans
from tests.support.conditions import eventually
from tests.support.metrics import sample

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))
TICK = timedelta(microseconds=1)


def a_plan(unit_price: str = "1") -> Plan:
    charge = Charge("API_CALL", ChargeModel.PER_UNIT, unit_price=Decimal(unit_price))
    return Plan(f"p-{uuid4().hex}", 0, "KRW", (charge,))


def dearer(plan: Plan, fee: int) -> Plan:
    return replace(plan, flat_fee=fee)


async def put(database: Database, plan: Plan, since: datetime) -> tuple[Plan, bool]:
    async with database.begin(SYSTEM) as tx:
        return await pricing.put(tx, plan, since)


async def fees(database: Database, code: str) -> list[int | None]:
    """The flat fee just before February, at it, and in March; None where there is no plan."""
    async with database.engine.connect() as tx:
        found = [await pricing.effective(tx, code, at) for at in (FEBRUARY - TICK, FEBRUARY, MARCH)]
    return [None if plan is None else plan.flat_fee for plan in found]


async def test_a_plan_comes_back_as_it_was_put(database: Database) -> None:
    plan = a_plan("0.000000000001")

    assert await put(database, plan, JANUARY) == (replace(plan, version=1), True)

    async with database.engine.connect() as tx:
        assert await pricing.effective(tx, plan.code, JANUARY) == replace(plan, version=1)
        assert await pricing.effective(tx, plan.code, JANUARY - TICK) is None
        assert await pricing.effective(tx, f"p-{uuid4().hex}", JANUARY) is None


async def test_the_same_prices_from_the_same_moment_are_no_new_version(database: Database) -> None:
    plan = a_plan("1.50")
    first, _ = await put(database, plan, JANUARY)
    same = replace(plan, version=7, charges=a_plan("1.5").charges)

    assert await put(database, same, JANUARY) == (first, False)
    assert (await put(database, plan, FEBRUARY))[1] is True
    assert (await put(database, dearer(plan, 1), JANUARY))[0].version == 3
    # Not the last of that moment any more: putting it again takes the change back.
    assert (await put(database, plan, JANUARY))[0].version == 4


async def test_the_latest_begun_counts_and_of_one_moment_the_last_added(database: Database) -> None:
    plan = a_plan()
    await put(database, dearer(plan, 200), FEBRUARY)
    await put(database, dearer(plan, 100), JANUARY)
    assert await fees(database, plan.code) == [100, 200, 200]

    await put(database, dearer(plan, 250), FEBRUARY)
    await put(database, dearer(plan, 50), JANUARY)

    assert await fees(database, plan.code) == [50, 250, 250]


async def test_withdrawing_leaves_the_past_and_takes_what_was_planned(database: Database) -> None:
    plan = a_plan()
    for moment, fee in ((JANUARY, 100), (MARCH, 300), (MARCH, 350)):
        await put(database, dearer(plan, fee), moment)

    async with database.begin(SYSTEM) as tx:
        assert await pricing.offered(tx, plan.code, FEBRUARY)
        assert await pricing.withdraw(tx, plan.code, FEBRUARY)
        assert not await pricing.withdraw(tx, plan.code, FEBRUARY + TICK)
        assert not await pricing.offered(tx, plan.code, FEBRUARY)

    assert await fees(database, plan.code) == [100, None, None]
    async with database.engine.connect() as tx:
        known = await pricing.versions(tx, plan.code)
    assert [(each.version, each.effective_from, each.plan is None) for each in known] == [
        (1, JANUARY, False),
        (2, MARCH, False),
        (3, MARCH, False),
        (4, FEBRUARY, True),
        (5, MARCH, True),
    ]


async def test_a_withdrawn_plan_can_be_offered_again(database: Database) -> None:
    plan = a_plan()
    await put(database, plan, JANUARY)
    async with database.begin(SYSTEM) as tx:
        await pricing.withdraw(tx, plan.code, FEBRUARY)

    again, added = await put(database, plan, FEBRUARY)

    assert (again.version, added) == (3, True)
    assert await fees(database, plan.code) == [0, 0, 0]


async def test_what_begins_later_is_offered_already(database: Database) -> None:
    plan = a_plan()
    await put(database, plan, MARCH)

    async with database.engine.connect() as tx:
        assert await pricing.effective(tx, plan.code, JANUARY) is None
        assert await pricing.offered(tx, plan.code, JANUARY)


async def test_versions_added_at_once_are_all_kept(database: Database) -> None:
    plan = a_plan()

    added = await asyncio.gather(
        *(put(database, dearer(plan, fee % 5), JANUARY + timedelta(fee % 5)) for fee in range(10))
    )

    assert sorted(each.version for each, new in added if new) == [1, 2, 3, 4, 5]
    assert sum(new for _, new in added) == 5


async def test_the_application_cannot_change_or_delete_a_version(database: Database) -> None:
    plan = a_plan()
    await put(database, plan, JANUARY)

    for change in (
        update(pricing_plans).where(pricing_plans.c.code == plan.code).values(version=9),
        delete(pricing_plans).where(pricing_plans.c.code == plan.code),
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with database.begin(SYSTEM) as tx:
                await tx.execute(change)


async def test_the_wait_for_another_version_is_measured_to_its_end(database: Database) -> None:
    def waits() -> float:
        return sample("billing_advisory_lock_wait_seconds_count", lock="pricing-plan")

    waiting = text("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    before, plan = waits(), a_plan()
    async with database.begin(SYSTEM) as tx, database.statements(SYSTEM) as looking:
        await pricing.lock(tx, plan.code)
        second = asyncio.create_task(put(database, plan, JANUARY))

        async def waits_for_us() -> bool:
            return bool(await looking.scalar(waiting))

        await eventually(waits_for_us)
        assert waits() == before + 1
    await second

    assert waits() == before + 2
