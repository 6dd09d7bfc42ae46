"""Stock for an order: reserved once, given back once, in whatever order the two arrive."""

from activities.inventory import InventoryActivities
from domain.errors import HoldReleased, OutOfStock
from domain.payment import PaymentRequest
from store import saga
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier


async def stock(cashier: Cashier, request: PaymentRequest) -> tuple[int, int]:
    """(on hand, reserved)."""
    [line] = request.stock
    found = await cashier.billing.get(f"/api/v1/inventory/{line.sku}")
    return found["onHand"], found["reserved"]


async def test_a_reservation_is_made_and_given_back_once(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods(pieces=5))
    inventory = InventoryActivities(database)

    await twice(inventory.reserve, request)
    assert await stock(cashier, request) == (5, 1)
    await twice(inventory.restore, request)

    assert await stock(cashier, request) == (5, 0)


async def test_a_reservation_that_comes_after_its_undo_takes_nothing(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods(pieces=5))
    inventory = InventoryActivities(database)
    await twice(inventory.restore, request)

    assert await twice.raises(inventory.reserve, request) is HoldReleased
    assert await stock(cashier, request) == (5, 0)


async def test_more_than_there_is_is_refused(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods(pieces=0))

    assert await twice.raises(InventoryActivities(database).reserve, request) is OutOfStock
    assert await stock(cashier, request) == (0, 0)


async def test_stock_of_a_withdrawn_sku_waits_for_a_person(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    goods = await cashier.goods(pieces=5)
    request = await cashier.prepare(card=1000, goods=goods)
    inventory = InventoryActivities(database)
    await inventory.reserve(request)
    await cashier.billing.put_stock(5, goods.sku, withdrawn=True)

    await twice(inventory.restore, request)

    assert await stock(cashier, request) == (5, 1)
    async with database.engine.connect() as tx:
        [step] = await saga.of(tx, request.payment_id)
    assert (step.step, step.state) == ("inventory.reserve", "NEEDS_REVIEW")
