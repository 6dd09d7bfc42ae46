"""A coupon on its order: applied once, taken off once, never after the coupon was given back."""

from activities.coupon import CouponActivities
from activities.order import OrderActivities
from domain.errors import HoldReleased
from store import order
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier


async def applied_by(database: Database, order_id: str) -> str | None:
    async with database.engine.connect() as tx:
        row = await order.find(tx, order_id)
    assert row is not None
    payment_id: str | None = row.coupon_applied_by
    return payment_id


async def test_a_coupon_is_applied_and_taken_off_once(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods())
    orders = OrderActivities(database)
    await CouponActivities(database).use(request)

    await twice(orders.apply_coupon, request)
    assert await applied_by(database, request.payable_id) == request.payment_id
    await twice(orders.remove_coupon, request)

    assert await applied_by(database, request.payable_id) is None


async def test_an_apply_that_comes_after_the_undos_leaves_nothing(
    database: Database, cashier: Cashier, twice: Twice
) -> None:
    request = await cashier.prepare(card=1000, goods=await cashier.goods())
    coupons, orders = CouponActivities(database), OrderActivities(database)
    await coupons.use(request)
    await twice(orders.remove_coupon, request)
    await twice(coupons.restore, request)

    assert await twice.raises(orders.apply_coupon, request) is HoldReleased
    assert await applied_by(database, request.payable_id) is None
