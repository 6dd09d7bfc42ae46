"""Lists may be read from a replica: never further behind than is allowed, and never instead of an
answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from dev import postgres, process
from domain.access import SYSTEM, Actor, Scope
from store import customer
from store.replica import ReplicatedDatabase
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.replica import Pair
from tests.support.samples import new_customer

LONG, SHORT = timedelta(hours=1), timedelta(seconds=1)


async def opened(pair: Pair, lag: timedelta) -> AsyncIterator[ReplicatedDatabase]:
    async with (
        connected(postgres.url(pair.primary, postgres.APPLICATION), 3) as database,
        connected(postgres.url(pair.copy, postgres.APPLICATION), 3) as copy,
    ):
        yield ReplicatedDatabase(database, copy, lag)


@pytest.fixture
async def patient(pair: Pair) -> AsyncIterator[ReplicatedDatabase]:
    """Content with an old copy."""
    async for each in opened(pair, LONG):
        yield each


@pytest.fixture
async def strict(pair: Pair) -> AsyncIterator[ReplicatedDatabase]:
    async for each in opened(pair, SHORT):
        yield each


async def of_the_copy(database: ReplicatedDatabase) -> bool:
    """Whether a read sees the copy just now."""
    async with database.read(SYSTEM) as tx:
        return bool(await tx.scalar(text("SELECT pg_is_in_recovery()")))


async def added(database: ReplicatedDatabase) -> str:
    name = new_customer()
    async with database.begin(SYSTEM) as tx:
        await customer.put(tx, name)
    return name


async def sees(database: ReplicatedDatabase, name: str) -> bool:
    async with database.read(Scope(Actor.CUSTOMER, name)) as tx:
        return await customer.is_there(tx, name)


async def test_reads_see_the_copy_and_writes_the_database(patient: ReplicatedDatabase) -> None:
    name = await added(patient)

    async def is_there() -> bool:
        return await of_the_copy(patient) and await sees(patient, name)

    await eventually(is_there)
    async with patient.statements(SYSTEM) as tx:
        assert not await tx.scalar(text("SELECT pg_is_in_recovery()"))


async def test_a_copy_that_is_too_far_behind_is_passed_over_until_it_has_caught_up(
    pair: Pair, patient: ReplicatedDatabase, strict: ReplicatedDatabase
) -> None:
    async def from_the_copy() -> bool:
        return await of_the_copy(strict) and await of_the_copy(patient)

    await eventually(from_the_copy)
    await pair.hold_up()
    try:
        name = await added(strict)

        async def is_passed_over() -> bool:
            return not await of_the_copy(strict)

        await eventually(is_passed_over)
        assert await sees(strict, name)
        # Whoever is content with an old copy does not see it: so it was the copy that they read.
        assert await of_the_copy(patient)
        assert not await sees(patient, name)
    finally:
        await pair.go_on()
    await eventually(from_the_copy)
    assert await sees(strict, name)


async def test_a_server_that_copies_nobody_is_no_replica(pair: Pair) -> None:
    """As one that was made a server of its own: what it says belongs to other books."""
    url = postgres.url(pair.primary, postgres.APPLICATION)
    async with connected(url, 2) as database, connected(url, 2) as other:
        replicated_ = ReplicatedDatabase(database, other, LONG)
        assert not await of_the_copy(replicated_)
        assert replicated_.engine is database.engine


async def test_without_the_copy_reads_see_the_database(pair: Pair) -> None:
    nobody = f"postgresql://billing_app@127.0.0.1:{process.free_port()}/billing"
    async with (
        connected(postgres.url(pair.primary, postgres.APPLICATION), 3) as database,
        connected(nobody) as copy,
    ):
        lonely = ReplicatedDatabase(database, copy, LONG)
        asked = await asyncio.gather(*[of_the_copy(lonely) for _ in range(3)])
    assert asked == [False, False, False]
