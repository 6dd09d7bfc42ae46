"""Holds: taken once, given back once, in whatever order the two arrive."""

import asyncio

from activities.wallet import WalletActivities
from domain.errors import HoldReleased, InsufficientFunds
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier


async def test_a_hold_run_twice_holds_once(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(wallet=3000)

    await twice(WalletActivities(database).hold, request)

    assert await cashier.billing.balance() == (2000, 3000)


async def test_a_release_run_twice_gives_back_once(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(wallet=3000)
    wallet = WalletActivities(database)
    await twice(wallet.hold, request)

    await twice(wallet.release, request)

    assert await cashier.billing.balance() == (5000, 0)


async def test_a_hold_that_comes_after_its_release_does_nothing(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(wallet=3000)
    wallet = WalletActivities(database)
    await twice(wallet.release, request)

    assert await twice.raises(wallet.hold, request) is HoldReleased
    assert await cashier.billing.balance() == (5000, 0)


async def test_a_hold_of_more_than_there_is_changes_nothing(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    await cashier.billing.top_up(2999)
    request = await cashier.prepare(wallet=3000)

    assert await twice.raises(WalletActivities(database).hold, request) is InsufficientFunds
    assert await cashier.billing.balance() == (2999, 0)


async def test_holds_and_releases_at_once_leave_all_or_nothing_held(
    database: Database, cashier: Cashier
) -> None:
    """Attempts that outlived their time-outs meet: once the release is through, nothing is held."""
    await cashier.billing.top_up(50_000)
    wallet = WalletActivities(database)
    requests = [await cashier.prepare(wallet=1000) for _ in range(8)]

    attempts = [
        each(request)
        for request in requests
        for each in (wallet.hold, wallet.release, wallet.hold, wallet.release)
    ]
    await asyncio.gather(*attempts, return_exceptions=True)
    for request in requests:
        await wallet.release(request)

    assert await cashier.billing.balance() == (50_000, 0)
