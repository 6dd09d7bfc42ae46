"""Coupons: never more than there are, whoever comes at once and in whatever order."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from domain.coupon import Coupon, CouponKind, CouponUseState
from store import change, coupon
from store.database import Database
from store.tables import coupon_claims
from tests.support.conditions import meanwhile
from tests.support.databases import crowd, may_idle, somebody_waits_for_a_row
from tests.support.samples import new_customer, new_id


async def a_coupon(database: Database, **limits: int) -> str:
    """Ten percent, valid now; returns its code."""
    code, now = f"C-{uuid4().hex}", datetime.now(UTC)
    terms = Coupon(
        code=code,
        kind=CouponKind.PERCENTAGE,
        basis_points=1000,
        amounts={},
        minimum_order={},
        valid_from=now - timedelta(days=1),
        valid_until=now + timedelta(days=1),
        customer_limit=limits.get("customer_limit"),
        total_limit=limits.get("total_limit"),
        issue_limit=limits.get("issue_limit"),
    )
    async with database.begin(SYSTEM) as tx:
        assert await coupon.put(tx, terms)
    return code


async def counted(database: Database, code: str) -> tuple[int, int]:
    """(issued, used)."""
    async with database.engine.connect() as tx:
        row = await coupon.find(tx, code)
    assert row is not None
    return row.issued, row.used


async def use(database: Database, code: str, payment_id: str, customer_id: str = "c-1") -> bool:
    async with database.begin(SYSTEM) as tx:
        if await coupon.take_place(tx, code) is None:
            return False
        await coupon.begin_use(tx, payment_id, code, customer_id)
        return True


async def use_at_once(database: Database, code: str, customer_id: str) -> bool:
    """By one statement, of another payment each time."""
    return await change.at_once(database, SYSTEM, coupon.using(new_id(), code, customer_id))


async def restore(database: Database, code: str, payment_id: str) -> bool:
    async with database.begin(SYSTEM) as tx:
        return await coupon.restore(tx, payment_id, code, "c-1")


async def test_a_thousand_claims_of_a_hundred_coupons_get_exactly_a_hundred(
    database: Database,
) -> None:
    code = await a_coupon(database, issue_limit=100)

    async def claim() -> bool:
        async with database.begin(SYSTEM) as tx:
            return await coupon.issue(tx, code, new_id(), new_customer()) is not None

    got = await crowd(claim() for _ in range(1000))

    assert got.count(True) == 100
    assert await counted(database, code) == (100, 0)
    async with database.engine.connect() as tx:
        query = select(func.count()).where(coupon_claims.c.code == code)
        assert await tx.scalar(query) == 100


async def test_a_hundred_uses_at_once_keep_the_total_limit(database: Database) -> None:
    code = await a_coupon(database, total_limit=7)

    used = await crowd(use(database, code, new_id()) for _ in range(100))

    assert used.count(True) == 7
    assert await counted(database, code) == (0, 7)


async def test_the_uses_of_one_customer_are_counted_after_each_other(database: Database) -> None:
    """The coupon's row is locked to the commit, so nobody counts what is not committed yet."""
    code, customer_id = await a_coupon(database, customer_limit=3), new_customer()

    async def use_within_limit() -> bool:
        async with database.engine.connect() as connection, connection.begin() as transaction:
            assert await coupon.take_place(connection, code) is not None
            if await coupon.live_uses(connection, code, customer_id) >= 3:
                await transaction.rollback()
                return False
            await coupon.begin_use(connection, new_id(), code, customer_id)
            return True

    used = await asyncio.gather(*(use_within_limit() for _ in range(40)))

    assert used.count(True) == 3
    assert await counted(database, code) == (0, 3)


async def test_uses_by_one_statement_keep_every_limit(database: Database) -> None:
    for limits in ({"customer_limit": 3}, {"total_limit": 3}):
        code, customer_id = await a_coupon(database, **limits), new_customer()

        used = await crowd(use_at_once(database, code, customer_id) for _ in range(40))

        # One that had to wait counts anew, step by step, which is nobody here.
        assert 1 <= used.count(True) <= 3
        while await use_at_once(database, code, customer_id):
            pass
        assert await counted(database, code) == (0, 3)


@pytest.mark.parametrize("same_customer", [True, False])
async def test_a_customers_use_that_waited_for_another_one_is_counted_again(
    database: Database, same_customer: bool
) -> None:
    """Also where as many uses are counted as before, because one was given back meanwhile."""
    code, customer_id = await a_coupon(database, customer_limit=1), new_customer()
    given_back = new_id()
    assert await use(database, code, given_back, "c-1")

    async with database.begin(SYSTEM) as tx:
        await may_idle(tx)
        assert await coupon.take_place(tx, code) is not None
        other = customer_id if same_customer else new_customer()
        await coupon.begin_use(tx, new_id(), code, other)
        assert await coupon.restore(tx, given_back, code, "c-1")
        async with meanwhile(use_at_once(database, code, customer_id)) as waiting:
            await somebody_waits_for_a_row(database)
            await tx.commit()
            assert not await waiting

    assert await counted(database, code) == (0, 1)
    assert await use_at_once(database, code, customer_id) is not same_customer


async def test_a_use_without_limits_of_a_customer_waits_and_takes_the_next_place(
    database: Database,
) -> None:
    code = await a_coupon(database, total_limit=2)
    async with database.begin(SYSTEM) as tx:
        await may_idle(tx)
        assert await coupon.take_place(tx, code) is not None
        async with meanwhile(use_at_once(database, code, new_customer())) as waiting:
            await somebody_waits_for_a_row(database)
            await tx.commit()
            assert await waiting

    assert await counted(database, code) == (0, 2)
    assert not await use_at_once(database, code, new_customer())


async def test_a_coupon_that_must_be_claimed_is_used_as_often_as_it_was(database: Database) -> None:
    code, customer_id = await a_coupon(database, issue_limit=5), new_customer()
    assert not await use_at_once(database, code, customer_id)
    async with database.begin(SYSTEM) as tx:
        assert await coupon.issue(tx, code, new_id(), customer_id) is not None

    assert await use_at_once(database, code, customer_id)
    assert not await use_at_once(database, code, customer_id)


async def test_a_restore_that_comes_first_leaves_a_tombstone(database: Database) -> None:
    code, payment_id = await a_coupon(database), new_id()

    assert not await restore(database, code, payment_id)
    try:
        await use(database, code, payment_id)
    except IntegrityError:
        pass
    else:
        raise AssertionError("the late use found no tombstone")

    assert await counted(database, code) == (0, 0)


async def test_a_use_is_given_back_once(database: Database) -> None:
    code, payment_id = await a_coupon(database), new_id()
    await use(database, code, payment_id)

    given_back = await asyncio.gather(*(restore(database, code, payment_id) for _ in range(8)))

    assert given_back.count(True) == 1
    assert await counted(database, code) == (0, 0)


async def test_uses_and_restores_at_once_leave_no_place_taken(database: Database) -> None:
    code = await a_coupon(database)
    payments = [new_id() for _ in range(20)]

    racing = [
        each(database, code, payment_id)
        for payment_id in payments
        for each in (use, restore, use, restore)
    ]
    results = await asyncio.gather(*racing, return_exceptions=True)

    assert all(isinstance(each, bool | IntegrityError) for each in results), results
    for payment_id in payments:
        await restore(database, code, payment_id)
    assert await counted(database, code) == (0, 0)
    async with database.engine.connect() as tx:
        states = {await coupon.use_state(tx, payment_id) for payment_id in payments}
    assert states == {CouponUseState.RESTORED}
