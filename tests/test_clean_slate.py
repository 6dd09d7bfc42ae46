"""The comparing program must be able to fail, also where the product's invariants do not look: each
of those has a planted violation of its own in `tests/store/test_verification.py`."""

import pytest
from sqlalchemy import text
from temporalio.client import Client

from domain.access import SYSTEM
from gateway.book import HttpBook
from runtime.settings import Settings
from store import wallet
from tests.support.billing import WITHOUT_RESIDUE, Billing
from tests.support.cashier import Cashier
from tests.support.clean_slate import Residue, Totals, assert_clean_slate, assert_everything_agrees
from tests.support.databases import connected, settings_of_its_own
from tests.support.faults import FaultInjector
from tests.support.samples import new_customer


@pytest.fixture
def cashier(billing: Billing, temporal_client: Client, faults: FaultInjector) -> Cashier:
    return Cashier(billing, temporal_client, faults)


async def test_what_is_under_way_is_a_residue_until_it_has_ended(cashier: Cashier) -> None:
    request = await cashier.prepare(0, 1000)
    with pytest.raises(Residue, match=f"nothing_is_under_way: payment {request.payment_id}"):
        await assert_clean_slate(cashier.billing)

    await cashier.pay(request)

    await assert_clean_slate(cashier.billing)


@pytest.mark.parametrize(("captured", "refunded"), [(0, 0), (2000, 0), (1000, 500)])
async def test_a_pg_that_says_another_thing_is_a_residue(
    cashier: Cashier, captured: int, refunded: int
) -> None:
    request = await cashier.prepare(0, 1000)
    await cashier.pay(request)

    async def book(_: str) -> Totals:
        return {"KRW": {"captured": captured, "refunded": refunded}}

    with pytest.raises(Residue, match=f"{request.payment_id}: In KRW the ledger says 1000 taken"):
        await assert_clean_slate(cashier.billing, book)


async def test_goods_that_nobody_bought_and_nobody_has_are_a_residue(cashier: Cashier) -> None:
    billing = cashier.billing
    goods = await cashier.goods(pieces=5)
    await cashier.pay(await cashier.prepare(0, 1000, goods=goods))
    await assert_clean_slate(billing)

    billing.stocked[goods.sku] += 1

    with pytest.raises(Residue, match=f"of 6 {goods.sku} there are 5 on hand or sold"):
        await assert_clean_slate(billing)


async def test_points_beyond_what_an_order_earns_are_a_residue(cashier: Cashier) -> None:
    request = await cashier.prepare(0, 1000)
    await cashier.pay(request)
    more = text("UPDATE payments SET points_earned = points_earned + :more WHERE id = :id")

    async with cashier.billing.database.begin(SYSTEM) as tx:
        await tx.execute(more, {"more": 1, "id": request.payment_id})
    with pytest.raises(Residue, match="earned 11 points instead of 10"):
        await assert_clean_slate(cashier.billing)

    async with cashier.billing.database.begin(SYSTEM) as tx:
        await tx.execute(more, {"more": -1, "id": request.payment_id})
    await assert_clean_slate(cashier.billing)


async def test_what_any_test_left_is_found_at_the_end_unless_it_said_so(
    settings: Settings,
) -> None:
    somebody = new_customer()
    async with settings_of_its_own(settings) as own, connected(own.database_url) as database:
        async with database.begin(SYSTEM) as tx:
            await wallet.credit(tx, somebody, "KRW", 300)
        book = HttpBook(own.gateway_url, ())
        await assert_everything_agrees(database, book)

        WITHOUT_RESIDUE.add(somebody)
        with pytest.raises(Residue, match=f"wallet:{somebody}:available KRW: The wallet says 300"):
            await assert_everything_agrees(database, book)
        WITHOUT_RESIDUE.discard(somebody)
