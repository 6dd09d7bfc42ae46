"""What an earlier run of a payment has done, or does late, is neither lost nor done twice.

Each step × before or after its effect × what happens to the run that was there: terminated,
cancelled and then terminated, or cancelled while its worker is frozen.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

import httpx2
import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from activities.coupon import CouponActivities
from activities.inventory import InventoryActivities
from activities.order import OrderActivities
from activities.payment import PaymentActivities
from activities.points import PointsActivities
from activities.wallet import WalletActivities
from domain import saga
from domain.access import SYSTEM
from domain.errors import Rejected
from domain.payment import PaymentRequest
from domain.waits import Waits
from gateway.client import PaymentGateway
from runtime import temporal
from runtime.settings import Settings
from service.starts import start_payment
from store import payment
from store.database import Database
from tests.runtime.test_sweeper import sweep
from tests.support.billing import Billing
from tests.support.cashier import TWO_CALLS, WAITS, Cashier, workflow_id
from tests.support.clean_slate import Residue, assert_clean_slate
from tests.support.conditions import eventually, patience
from tests.support.faults import AT_ONCE, Fault, FaultInjector
from tests.support.parked_worker import Stop
from tests.workflows.conftest import Chosen
from tests.workflows.test_killed_worker import a_worker, elsewhere, parked_worker
from tests.workflows.test_payment_saga import CARD, REVERSIBLE, WALLET
from tests.workflows.test_pursuit import BRISK, until

__all__ = ["elsewhere"]

STEPS = {
    "simulator": (*REVERSIBLE, AT_ONCE, saga.GATEWAY_CHARGE),
    TWO_CALLS: (saga.GATEWAY_AUTHORIZE, saga.POINTS_DEDUCT, saga.GATEWAY_CAPTURE),
}
AT_A_TIME = 8


@dataclass(frozen=True)
class Row:
    """Where the earlier run stood, and what happened to it."""

    happens: str
    gateway: str
    step: str
    after_its_effect: bool

    def __str__(self) -> str:
        where = "after" if self.after_its_effect else "before"
        return f"{self.happens} {where} {self.step} took effect, by {self.gateway}"

    @property
    def waits(self) -> Waits:
        """What is cancelled sends nothing more, and asks soon whether something was sent. Until
        then it may take as long as it likes to come to its call."""
        asks_soon = replace(BRISK, resend_window=WAITS.resend_window)
        return WAITS if self.happens == "terminated" else asks_soon

    @property
    def ends(self) -> str:
        if self.happens == "terminated":
            return "COMPLETED"
        # In the same run the capture is found before the cancellation is heeded.
        took_it = self.step in (saga.GATEWAY_CHARGE, saga.GATEWAY_CAPTURE) and self.after_its_effect
        return "COMPLETED" if self.happens == "frozen" and took_it else "CANCELLED"


def table(happens: str) -> Iterator[Row]:
    for gateway, steps in STEPS.items():
        for step, after in product(steps, (False, True)):
            yield Row(happens, gateway, step, after)


async def prepare(cashier: Cashier, row: Row) -> PaymentRequest:
    """An order with coupon, stock and points, paid by wallet and card."""
    await cashier.billing.top_up(5000)
    goods = await cashier.goods()
    return await cashier.prepare(WALLET, CARD, gateway=row.gateway, goods=goods, waits=row.waits)


async def come_late(cashier: Cashier, request: PaymentRequest) -> None:
    """What the earlier run's worker may still do, it does now: each step finds that it is over."""
    database = cashier.billing.database
    assert not await PaymentActivities(database).set_aside(request)
    steps: tuple[Callable[[PaymentRequest], Awaitable[None]], ...] = (
        CouponActivities(database).use,
        OrderActivities(database).apply_coupon,
        InventoryActivities(database).reserve,
        WalletActivities(database).hold,
        PointsActivities(database).deduct,
    )
    for step in steps:
        with suppress(Rejected):
            await step(request)


@pytest.mark.parametrize("happens", ["terminated", "cancelled, then terminated"])
async def test_a_second_run_knows_what_the_first_may_have_done(
    api: httpx2.AsyncClient,
    simulator: httpx2.AsyncClient,
    database: Database,
    payments: None,
    temporal_client: Client,
    faults: FaultInjector,
    chosen: Chosen,
    happens: str,
) -> None:
    at_once = asyncio.Semaphore(AT_A_TIME)
    failed: dict[Row, BaseException] = {}

    async def run(row: Row) -> None:
        async with at_once:
            billing = await Billing.for_new_customer(api, simulator, database)
            try:
                await _in_two_runs(row, Cashier(billing, temporal_client, faults))
            except (AssertionError, TimeoutError) as error:
                failed[row] = error

    rows = chosen(table(happens))
    await asyncio.gather(*map(run, rows))

    print(f"\n{happens}: {len(rows)} rows")
    assert not failed, "\n".join(f"{row}: {error!r}" for row, error in failed.items())


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_ANSWER])
async def test_a_second_run_asks_its_rows_until_they_answer(cashier: Cashier, fault: Fault) -> None:
    row = Row("terminated", "simulator", saga.GATEWAY_CHARGE, True)
    request = await prepare(cashier, row)
    cashier.plan(request, "payment.open", fault)

    await _run_twice(row, cashier, request)

    assert cashier.calls(request).count("payment.open") == 2, "a first run does not ask"


async def _in_two_runs(row: Row, cashier: Cashier) -> None:
    await _run_twice(row, cashier, await prepare(cashier, row))


async def _run_twice(row: Row, cashier: Cashier, request: PaymentRequest) -> None:
    fault = Fault.PARK_AFTER if row.after_its_effect else Fault.PARK_BEFORE
    parked = cashier.plan(request, row.step, fault)
    handle = await cashier.start(request)
    async with patience():
        await parked.reached.wait()
    if row.happens.startswith("cancelled"):
        async with cashier.billing.database.begin(SYSTEM) as tx:
            assert await payment.request_cancel(tx, request.payment_id)
        await handle.cancel()
    await handle.terminate("by hand")

    await sweep(cashier, row.waits)
    await until(cashier, request, row.ends)
    parked.release.set()
    await come_late(cashier, request)

    await clean_in_the_end(cashier)
    assert await cashier.status(request) == row.ends
    await end_watch(cashier, cashier.client, request)


async def clean_in_the_end(cashier: Cashier) -> None:
    """What comes late is undone by and by."""
    residue = ""

    async def is_clean() -> bool:
        nonlocal residue
        try:
            await assert_clean_slate(cashier.billing)
        except Residue as found:
            residue = str(found)
            return False
        return True

    try:
        await eventually(is_clean)
    except AssertionError as error:
        raise AssertionError(residue) from error


async def end_watch(cashier: Cashier, client: Client, request: PaymentRequest) -> None:
    """Nobody need watch for the rest of the hour."""
    await PaymentActivities(cashier.billing.database).end_watch(request)
    with suppress(RPCError):
        await client.get_workflow_handle(workflow_id(request)).terminate("the test is over")


async def test_a_run_whose_worker_is_frozen_is_cancelled_without_residue(
    elsewhere: Settings,
    cashier: Cashier,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
    chosen: Chosen,
) -> None:
    client = await temporal.connect_when_ready(elsewhere)
    rows = [(await prepare(cashier, row), row) for row in chosen(table("frozen"))]
    stops = [Stop(workflow_id(request), row.step, row.after_its_effect) for request, row in rows]
    handles = [await start_payment(client, request) for request, _ in rows]
    async with parked_worker(elsewhere, stops) as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        for handle in handles:
            await handle.cancel()
        async with a_worker(client, database, gateways, faults):
            for request, row in rows:
                await until(cashier, request, row.ends)
            # It wakes up and goes on with what it was about to do, while nobody waits for it.
            os.kill(worker.pid, signal.SIGCONT)
            os.kill(worker.pid, signal.SIGUSR1)
            for request, _ in rows:
                await come_late(cashier, request)
            await clean_in_the_end(cashier)
            assert {row: await cashier.status(request) for request, row in rows} == {
                row: row.ends for _, row in rows
            }
            for request, _ in rows:
                await end_watch(cashier, client, request)
    print(f"\n{len(rows)} sagas of a frozen worker")
