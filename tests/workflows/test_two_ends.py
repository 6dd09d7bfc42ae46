"""Two runs of a payment never end it in two ways: whoever is late finds it out, and gives back.

A run that was terminated may have done, or may yet do on a frozen worker, the opposite of what its
successor does. Whichever is written first stands.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from activities.coupon import CouponActivities
from activities.inventory import InventoryActivities
from activities.payment import PaymentActivities
from activities.points import PointsActivities
from activities.wallet import WalletActivities
from domain.access import SYSTEM
from domain.errors import HoldReleased
from domain.failure import FailureCode
from domain.gateway import Operation
from domain.payment import Capture, FailedPayment, PaymentStatus, Watch
from store import payment, watch
from store.database import Database
from tests.runtime.test_sweeper import ended, sweep
from tests.support.cashier import Cashier
from tests.support.faults import Fault
from tests.workflows.conftest import Connections
from tests.workflows.test_pursuit import BRISK, eventually_clean
from tests.workflows.test_reviews import captured_while_its_void_is_tried

CARD = (0, 2000)


async def test_what_an_earlier_run_gave_back_is_not_taken_by_the_next(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    request = await cashier.prepare(*CARD, gateway=name, two_calls=True, waits=BRISK)
    parked = cashier.plan(request, "payment.record_late_capture", Fault.PARK_AFTER)
    handle = await captured_while_its_void_is_tried(cashier, request, line)
    await parked.reached.wait()

    await handle.terminate("by hand")
    parked.release.set()
    await sweep(cashier, BRISK)

    assert await ended(cashier, request) == "FAILED"
    await eventually_clean(cashier)


@pytest.mark.parametrize("first", ["given back", "completed"])
async def test_a_late_completion_and_what_is_given_back_are_never_both(
    cashier: Cashier, first: str
) -> None:
    """The earlier run was about to complete; the next one heeds a cancellation."""
    request = await cashier.prepare(*CARD, waits=BRISK)
    earlier = cashier.plan(request, "payment.complete", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await earlier.reached.wait()
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await payment.request_cancel(tx, request.payment_id)
    await handle.terminate("by hand")
    fault = Fault.PARK_AFTER if first == "given back" else Fault.PARK_BEFORE
    gives_back = cashier.plan(request, "payment.record_late_capture", fault)
    await sweep(cashier, BRISK)
    await gives_back.reached.wait()

    with suppress(HoldReleased):
        await PaymentActivities(cashier.billing.database).complete(Capture(request, "pg_1"))
    gives_back.release.set()
    earlier.release.set()

    ends = {"given back": "CANCELLED", "completed": "COMPLETED"}
    assert await ended(cashier, request) == ends[first]
    await eventually_clean(cashier)


async def test_a_capture_of_what_an_earlier_run_has_failed_meanwhile_is_given_back(
    cashier: Cashier,
) -> None:
    request = await cashier.prepare(*CARD)
    parked = cashier.plan(request, "payment.complete", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()
    database = cashier.billing.database
    watched = Watch(Operation.CHARGE, datetime.now(UTC) + timedelta(hours=1))
    why = (PaymentStatus.FAILED, FailureCode.GATEWAY_NOT_FOUND, "The PG does not know it.")
    await PaymentActivities(database).fail(FailedPayment(request, *why, watch=watched))

    parked.release.set()

    assert (await handle.result()).status == "FAILED"
    await eventually_clean(cashier)
    async with database.engine.connect() as tx:
        assert await watch.of(tx, request.payment_id) is None


@pytest.mark.parametrize(
    "undo",
    [
        lambda database: CouponActivities(database).restore,
        lambda database: InventoryActivities(database).restore,
        lambda database: WalletActivities(database).release,
        lambda database: PointsActivities(database).give_back,
    ],
    ids=["coupon", "stock", "wallet", "points"],
)
async def test_a_payment_whose_step_an_earlier_run_undoes_late_is_given_back_whole(
    cashier: Cashier, undo: Callable[[Database], Callable[..., object]]
) -> None:
    await cashier.billing.top_up(5000)
    goods = await cashier.goods()
    before = await cashier.holdings(goods)
    request = await cashier.prepare(1000, 2000, goods=goods)
    parked = cashier.plan(request, "payment.complete", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()

    await undo(cashier.billing.database)(request)  # type: ignore[misc]
    parked.release.set()

    outcome = await handle.result()
    assert (outcome.status, outcome.failure_code) == ("FAILED", HoldReleased.slug)
    await eventually_clean(cashier)
    assert await cashier.holdings(goods) == before
