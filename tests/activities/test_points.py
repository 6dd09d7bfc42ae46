"""Points for an order: deducted once, given back once, in whatever order the two arrive."""

from activities.points import PointsActivities
from domain.errors import HoldReleased, InsufficientPoints
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier
from tests.support.wallets import balances, posted


async def points(database: Database, cashier: Cashier) -> tuple[int, int]:
    """(available, held), which the postings confirm."""
    customer_id = cashier.billing.customer_id
    in_rows = (await balances(database, customer_id)).get("POINT", (0, 0))
    assert (await posted(database, customer_id)).get("POINT", (0, 0)) == in_rows
    return in_rows


async def test_points_are_deducted_and_given_back_once(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods())
    activities = PointsActivities(database)

    await twice(activities.deduct, request)
    assert await points(database, cashier) == (0, 300)
    await twice(activities.give_back, request)

    assert await points(database, cashier) == (300, 0)


async def test_a_deduction_that_comes_after_its_undo_takes_nothing(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods())
    activities = PointsActivities(database)
    await twice(activities.give_back, request)

    assert await twice.raises(activities.deduct, request) is HoldReleased
    assert await points(database, cashier) == (300, 0)


async def test_more_points_than_there_are_are_refused(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    goods = await cashier.goods()
    first = await cashier.prepare(card=1000, goods=goods)
    second = await cashier.prepare(card=1000, goods=goods)
    activities = PointsActivities(database)
    await activities.deduct(first)

    assert await twice.raises(activities.deduct, second) is InsufficientPoints
    assert await points(database, cashier) == (0, 300)
