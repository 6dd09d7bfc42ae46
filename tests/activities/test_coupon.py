"""Coupons: used once, given back once, in whatever order the two arrive."""

from dataclasses import replace

import pytest

from activities.coupon import CouponActivities
from activities.order import OrderActivities
from domain.errors import CouponNotApplicable, CouponNotIssued, HoldReleased
from domain.payment import PaymentRequest
from store import order, saga
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.cashier import Cashier


async def steps(database: Database, request: PaymentRequest) -> dict[str, str]:
    async with database.engine.connect() as tx:
        return {row.step: row.state for row in await saga.of(tx, request.payment_id)}


async def used(cashier: Cashier, request: PaymentRequest) -> int:
    """How many places of the coupon are taken."""
    coupon = await cashier.billing.get(f"/api/v1/coupons/{request.coupon_code}")
    return int(coupon["used"])


@pytest.fixture
async def request_(cashier: Cashier) -> PaymentRequest:
    """A payment of an order with a coupon."""
    return await cashier.prepare(card=1000, goods=await cashier.goods())


async def test_a_use_run_twice_takes_one_place(
    database: Database, cashier: Cashier, twice: Twice, request_: PaymentRequest
) -> None:
    await twice(CouponActivities(database).use, request_)

    assert await used(cashier, request_) == 1


async def test_a_use_is_given_back_once(
    database: Database, cashier: Cashier, twice: Twice, request_: PaymentRequest
) -> None:
    coupons = CouponActivities(database)
    await coupons.use(request_)

    await twice(coupons.restore, request_)

    assert await used(cashier, request_) == 0
    assert await steps(database, request_) == {"coupon.use": "UNDONE"}


async def test_a_use_that_comes_after_its_undo_takes_nothing(
    database: Database, cashier: Cashier, twice: Twice, request_: PaymentRequest
) -> None:
    coupons = CouponActivities(database)
    await twice(coupons.restore, request_)

    assert await twice.raises(coupons.use, request_) is HoldReleased
    assert await used(cashier, request_) == 0
    assert await steps(database, request_) == {}


async def test_a_coupon_that_ended_meanwhile_is_refused(
    database: Database, cashier: Cashier, twice: Twice, request_: PaymentRequest
) -> None:
    await cashier.billing.put_coupon(request_.coupon_code, validUntil="2021-01-01T00:00:00Z")

    assert await twice.raises(CouponActivities(database).use, request_) is CouponNotApplicable
    assert await used(cashier, request_) == 0


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"totalLimit": 1}, CouponNotApplicable),
        ({"customerLimit": 1}, CouponNotApplicable),
        ({"issueLimit": 5}, CouponNotIssued),
    ],
)
async def test_a_use_beyond_a_limit_is_refused_and_counted_nowhere(
    database: Database,
    cashier: Cashier,
    twice: Twice,
    request_: PaymentRequest,
    terms: dict[str, int],
    refusal: type[Exception],
) -> None:
    coupons = CouponActivities(database)
    goods = await cashier.goods()
    first = await cashier.prepare(card=1000, goods=replace(goods, coupon_code=request_.coupon_code))
    await coupons.use(first)
    await cashier.billing.put_coupon(request_.coupon_code, **terms)

    assert await twice.raises(coupons.use, request_) is refusal
    assert await used(cashier, request_) == 1


async def test_an_apply_that_comes_between_the_undos_leaves_nothing(
    database: Database, cashier: Cashier, twice: Twice, request_: PaymentRequest
) -> None:
    """Its own undo found nothing to do, and the coupon is still in use: it applies."""
    coupons, orders = CouponActivities(database), OrderActivities(database)
    await coupons.use(request_)
    await orders.remove_coupon(request_)
    await orders.apply_coupon(request_)

    await twice(coupons.restore, request_)

    async with database.engine.connect() as tx:
        row = await order.find(tx, request_.payable_id)
    assert row is not None
    assert row.coupon_applied_by is None
    assert await steps(database, request_) == {
        "coupon.use": "UNDONE",
        "order.apply_coupon": "UNDONE",
    }
