"""Every step of an order's payment × everything that can happen to it, and then a clean slate."""

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import httpx2
import pytest
from sqlalchemy import update
from temporalio.client import Client

from domain import saga
from domain.access import SYSTEM
from domain.payment import PaymentRequest
from store.database import Database
from store.tables import orders
from tests.support.billing import GOOD_CARD, Billing
from tests.support.cashier import TWO_CALLS, Cashier, Goods
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import patience
from tests.support.faults import AT_ONCE, Fault, FaultInjector, Parked
from tests.workflows.conftest import Chosen

DECLINED_CARD = "4000000000000002"
UNKNOWN_CARD = "1111222233334444"
WALLET, CARD = 1000, 2000
AT_A_TIME = 16

COMPLETE, FAIL = saga.PAYMENT_COMPLETE, saga.PAYMENT_FAIL
RESTORE = "inventory.restore"
UNDO = {
    saga.COUPON_USE: "coupon.restore",
    saga.ORDER_APPLY_COUPON: "order.remove_coupon",
    saga.INVENTORY_RESERVE: RESTORE,
    saga.WALLET_HOLD: "wallet.release",
    saga.POINTS_DEDUCT: "points.give_back",
}
"""Local steps and their undos; an authorization is undone by `gateway.void`."""

REVERSIBLE = tuple(UNDO)
STEPS = {
    "simulator": (*REVERSIBLE, saga.GATEWAY_CHARGE),
    TWO_CALLS: (saga.GATEWAY_AUTHORIZE, saga.POINTS_DEDUCT, saga.GATEWAY_CAPTURE),
}
"""Per gateway the steps that one can refuse; for two calls those that differ from one call."""

FAULTS = {
    "fails before": Fault.FAIL_BEFORE,
    "answer lost": Fault.LOSE_ANSWER,
    "cancelled": Fault.PARK_AFTER,
    "signalled": Fault.PARK_AFTER,
}
SHAPES = {"wallet": (3000, 0), "card": (0, 3000)}
"""Payments without coupon, stock and points: (wallet part, card part)."""


@dataclass(frozen=True)
class Row:
    """One row of the table. `undone`: how often every undo runs, 0 when nothing is to be undone."""

    happens: str
    gateway: str
    step: str
    undone: int
    shape: str = "everything"

    def __str__(self) -> str:
        return (
            f"{self.happens}: {self.step} of {self.shape} by {self.gateway}, {self.undone} undone"
        )

    @property
    def ends(self) -> set[str]:
        if self.happens == "refused":
            return {"FAILED"}
        if self.happens == "refused, then cancelled":
            return {"CANCELLED"}
        if self.happens == "cancelled":
            if self.undone:
                # FAILED when it was written already.
                return {"CANCELLED", "FAILED"} if self.step == FAIL else {"CANCELLED"}
            past_the_pivot = (saga.GATEWAY_CHARGE, saga.GATEWAY_CAPTURE, COMPLETE)
            # A local step ends before its worker hears of the request, which may come too late.
            return {"COMPLETED"} if self.step in past_the_pivot else {"COMPLETED", "CANCELLED"}
        return {"FAILED"} if self.undone else {"COMPLETED"}


def table() -> Iterator[Row]:
    """Every row."""
    for gateway, steps in STEPS.items():
        for happens, step, undone in product(FAULTS, steps, (0, 1, 2)):
            yield Row(happens, gateway, step, undone)
        for happens, last in product(FAULTS, (COMPLETE, FAIL)):
            yield Row(happens, gateway, last, 1 if last == FAIL else 0)
        if gateway != TWO_CALLS:
            for happens, undone in product(FAULTS, (0, 1, 2)):
                yield Row(happens, gateway, AT_ONCE, undone)
        for happens, step, undone in product(("refused", "refused, then cancelled"), steps, (1, 2)):
            yield Row(happens, gateway, step, undone)
    for shape, happens in product(SHAPES, FAULTS):
        only = saga.WALLET_HOLD if shape == "wallet" else saga.GATEWAY_CHARGE
        for step in (only, COMPLETE):
            yield Row(happens, "simulator", step, 0, shape)


HAPPENS = [*FAULTS, "refused", "refused, then cancelled"]


@pytest.mark.parametrize("happens", HAPPENS)
async def test_every_step_survives_everything_that_can_happen_to_it(
    api: httpx2.AsyncClient,
    simulator: httpx2.AsyncClient,
    database: Database,
    owner: Database,
    payments: None,
    temporal_client: Client,
    faults: FaultInjector,
    chosen: Chosen,
    happens: str,
) -> None:
    rows = chosen(row for row in table() if row.happens == happens)
    at_once = asyncio.Semaphore(AT_A_TIME)
    failed: dict[Row, BaseException] = {}

    async def run(row: Row) -> None:
        async with at_once:
            billing = await Billing.for_new_customer(api, simulator, database)
            try:
                async with patience():
                    await _play(row, Cashier(billing, temporal_client, faults), owner)
            except (AssertionError, TimeoutError) as error:
                failed[row] = error

    await asyncio.gather(*map(run, rows))

    print(f"\n{happens}: {len(rows)} of the {len(list(table()))} rows of the table of PaymentSaga")
    assert not failed, "\n".join(f"{row}: {error!r}" for row, error in failed.items())


async def _play(row: Row, cashier: Cashier, owner: Database) -> None:
    await cashier.billing.top_up(5000)
    if row.shape != "everything":
        request = await cashier.prepare(*SHAPES[row.shape])
        await _meet(row, cashier, request)
        await assert_clean_slate(cashier.billing)
        return
    goods = await cashier.goods()
    refused = row.happens.startswith("refused")
    declined = refused and row.step in (saga.GATEWAY_AUTHORIZE, saga.GATEWAY_CHARGE)
    doomed = row.undone and not refused and row.gateway != TWO_CALLS
    request = await cashier.prepare(
        WALLET,
        CARD,
        number=DECLINED_CARD if declined or doomed else GOOD_CARD,
        gateway=row.gateway,
        goods=goods,
    )
    if refused:
        await _make_it_refuse(row.step, cashier, request, goods, owner)
    elif row.undone and row.gateway == TWO_CALLS:
        await cashier.misbehave(request, "decline", operation="capture")
    if row.undone == 2:
        for undo in (*UNDO.values(), "gateway.void"):
            cashier.plan(request, undo, Fault.LOSE_ANSWER)
    before = await _holdings(cashier, goods)

    status = await _meet(row, cashier, request)

    after = await _holdings(cashier, goods)
    assert after == (_without(before, goods) if status == "COMPLETED" else before)
    await assert_clean_slate(cashier.billing)
    if row.undone and row.step in UNDO:
        assert cashier.calls(request).count(UNDO[row.step]) >= row.undone
    [*_, at_the_pg] = (await cashier.billing.book(request.payment_id))["payments"] or [{}]
    assert at_the_pg.get("status") != "AUTHORIZED"


async def _meet(row: Row, cashier: Cashier, request: PaymentRequest) -> str:
    """Let it happen; returns how the payment ended."""
    parked = None
    if row.happens in FAULTS:
        parked = cashier.plan(request, row.step, FAULTS[row.happens])
    elif row.happens == "refused, then cancelled":
        # Each refused step registered its undo before; a gateway that said no has none.
        undo = UNDO.get(row.step, "wallet.release")
        parked = cashier.plan(request, undo, Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    if parked and "cancelled" in row.happens:
        await _meanwhile(parked, handle.cancel())
    elif parked and row.happens == "signalled":
        await _meanwhile(parked, handle.signal("gateway_hint"))
    outcome = await handle.result()
    assert outcome.status in row.ends, outcome
    assert await cashier.status(request) == outcome.status
    return outcome.status


async def _meanwhile(parked: Parked, sending: Awaitable[None]) -> None:
    """Send a request to a workflow whose activity is parked, then let the activity go on."""
    await parked.reached.wait()
    await sending
    parked.release.set()


async def _make_it_refuse(
    step: str, cashier: Cashier, request: PaymentRequest, goods: Goods, owner: Database
) -> None:
    """What was true when the order was made is true no more when it is paid."""
    billing = cashier.billing
    if step == saga.COUPON_USE:
        await billing.put_coupon(goods.coupon_code, validUntil="2021-01-01T00:00:00Z")
    elif step == saga.ORDER_APPLY_COUPON:
        async with owner.begin(SYSTEM) as tx:
            whose = update(orders).where(orders.c.id == request.payable_id)
            await tx.execute(whose.values(coupon_code="another"))
    elif step == saga.INVENTORY_RESERVE:
        await billing.put_stock(0, goods.sku)
    elif step == saga.WALLET_HOLD:
        await _spend(cashier, replace(request, wallet_amount=5000 - WALLET + 1))
    elif step == saga.POINTS_DEDUCT:
        await _spend(cashier, replace(request, wallet_amount=0, points_amount=1))
    elif step == saga.GATEWAY_CAPTURE:
        await cashier.misbehave(request, "decline", operation="capture")


async def _spend(cashier: Cashier, like: PaymentRequest) -> None:
    """Another order takes something first."""
    amount = like.wallet_amount + like.points_amount
    made = await cashier.billing.order_of("SKU-1", amount, points=like.points_amount)
    paid = await cashier.billing.pay(made["id"], "WALLET")
    assert paid["status"] == "COMPLETED"


async def _holdings(cashier: Cashier, goods: Goods) -> dict[str, Any]:
    return await cashier.holdings(goods)


def _without(before: dict[str, Any], goods: Goods) -> dict[str, Any]:
    """What is left after the order: 1 % of its money has come back as points."""
    points, wallet, on_hand = before["points"][0], before["wallet"][0], before["stock"][0]
    return {
        "stock": (on_hand - 1, 0),
        "coupon": before["coupon"] + 1,
        "points": (points - goods.points + (WALLET + CARD) // 100, 0),
        "wallet": (wallet - WALLET, 0),
    }
