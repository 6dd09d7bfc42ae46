"""Whatever is not final gets its owner back, whatever happened to it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from activities.coupon import CouponActivities
from activities.inventory import InventoryActivities
from activities.order import OrderActivities
from activities.payment import PaymentActivities
from activities.points import PointsActivities
from activities.wallet import WalletActivities
from domain.access import SYSTEM
from domain.gateway import GatewayAnswer, GatewayStatus, Operation
from domain.payment import FailedPayment, PaymentOutcome, PaymentRequest, PaymentStatus
from domain.refund import LATE_CAPTURE, RefundRequest, late_capture_refund_id
from domain.terms import Terms
from domain.waits import Waits
from domain.wallet import Hold
from domain.workflow_id import payment_workflow_id, refund_workflow_id
from runtime import sweeper
from runtime.settings import Settings
from store import payment, refund, wallet
from tests.support.cashier import WAITS, Cashier
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import eventually, meanwhile
from tests.support.databases import connected
from tests.support.faults import Fault
from tests.support.samples import new_id
from tests.workflows.conftest import Connections
from tests.workflows.test_pursuit import BRISK, SPLIT, UNDECIDABLE, eventually_clean, until

DECLINED_CARD = "4000000000000002"


async def sweep(cashier: Cashier, waits: Waits = WAITS) -> None:
    """As a worker does, with everything made until now."""
    made_before = datetime.now(UTC) + timedelta(seconds=1)
    await sweeper.sweep(cashier.client, cashier.billing.database, Terms(waits), made_before)


async def ended(cashier: Cashier, request: PaymentRequest) -> str:
    """How the latest run of the payment's workflow ended."""
    workflow_id = payment_workflow_id(request.payment_id)
    handle = cashier.client.get_workflow_handle(workflow_id, result_type=PaymentOutcome)
    return str((await handle.result()).status)


async def test_a_payment_whose_workflow_was_never_started_is_started(cashier: Cashier) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)

    await sweep(cashier)

    assert await ended(cashier, request) == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_sweeping_disturbs_nobody_who_is_at_work(cashier: Cashier) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    parked = cashier.plan(request, "gateway.charge", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()

    await asyncio.gather(*(sweep(cashier) for _ in range(3)))
    parked.release.set()

    assert (await handle.result()).status == "COMPLETED"
    assert cashier.calls(request).count("wallet.hold") == 1
    await assert_clean_slate(cashier.billing)


@pytest.mark.parametrize("step", ["wallet.hold", "gateway.charge", "payment.complete"])
@pytest.mark.parametrize("fault", [Fault.PARK_BEFORE, Fault.PARK_AFTER])
async def test_terminated_by_hand_it_is_started_again_and_taken_once(
    cashier: Cashier, step: str, fault: Fault
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    parked = cashier.plan(request, step, fault)
    handle = await cashier.start(request)
    await parked.reached.wait()

    await handle.terminate("by hand")
    parked.release.set()
    await sweep(cashier)

    await until(cashier, request, "COMPLETED")
    await assert_clean_slate(cashier.billing)


@pytest.mark.parametrize("step", ["wallet.release", "payment.fail"])
@pytest.mark.parametrize("fault", [Fault.PARK_BEFORE, Fault.PARK_AFTER])
async def test_terminated_while_undoing_it_is_undone_to_the_end(
    cashier: Cashier, step: str, fault: Fault
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT, number=DECLINED_CARD)
    parked = cashier.plan(request, step, fault)
    handle = await cashier.start(request)
    await parked.reached.wait()

    await handle.terminate("by hand")
    await sweep(cashier)
    await until(cashier, request, "FAILED")
    parked.release.set()

    assert await cashier.billing.balance() == (5000, 0)
    await assert_clean_slate(cashier.billing)


async def test_a_cancellation_outlives_the_workflow_that_was_asked(cashier: Cashier) -> None:
    """The row remembers it: the next run does not charge a payment that was to be cancelled."""
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await payment.request_cancel(tx, request.payment_id)

    await sweep(cashier)

    assert await ended(cashier, request) == "CANCELLED"
    assert "gateway.charge" not in cashier.calls(request)
    await assert_clean_slate(cashier.billing)


async def test_a_cancelled_payment_terminated_while_undoing_stays_cancelled(
    cashier: Cashier,
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await payment.request_cancel(tx, request.payment_id)
    parked = cashier.plan(request, "wallet.release", Fault.PARK_BEFORE)
    handle = await cashier.start(replace(request, cancel_requested=True))
    await parked.reached.wait()

    await handle.terminate("by hand")
    await sweep(cashier, BRISK)

    await until(cashier, request, "CANCELLED")
    parked.release.set()
    assert "gateway.charge" not in cashier.calls(request)
    await assert_clean_slate(cashier.billing)


async def test_a_cancellation_already_made_does_not_stop_the_sweep(
    cashier: Cashier, connections: Connections
) -> None:
    """An owner that was asked to cancel may pursue an unknown outcome for hours, and every sweep
    meets it; those that come after it must be started all the same."""
    name, line = connections.add()
    line.requests_arrive = False
    waits = replace(BRISK, not_found_after=timedelta(minutes=1))
    stubborn = await cashier.prepare(0, 2000, gateway=name, waits=waits)
    handle = await cashier.start(stubborn)
    await until(cashier, stubborn, "UNKNOWN")
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await payment.request_cancel(tx, stubborn.payment_id)
    await sweep(cashier)
    forgotten = await cashier.prepare(0, 2000)

    await sweep(cashier)

    assert await ended(cashier, forgotten) == "COMPLETED"
    await line.deliver_late(line.sent[0])
    await handle.signal("gateway_hint")
    assert (await handle.result()).status == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_a_payment_in_review_terminated_by_hand_comes_back_to_review(
    cashier: Cashier, connections: Connections
) -> None:
    await cashier.billing.top_up(5000)
    name, line = connections.add()
    line.answers_arrive = line.inquiries_work = False
    request = await cashier.prepare(*SPLIT, gateway=name, waits=UNDECIDABLE)
    handle = await cashier.start(request)
    await until(cashier, request, "NEEDS_REVIEW")
    await handle.terminate("by hand")
    line.answers_arrive = line.inquiries_work = True

    await sweep(cashier)

    assert await ended(cashier, request) == "COMPLETED"
    await assert_clean_slate(cashier.billing)


async def test_a_capture_found_twice_is_given_back_once(
    cashier: Cashier, connections: Connections
) -> None:
    """A run that is to be cancelled finds the capture of the run before it, begins to give it back
    and is terminated; the next one finds it again."""
    await cashier.billing.top_up(5000)
    name, _ = connections.add()
    request = await cashier.prepare(*SPLIT, gateway=name)
    refund_id = late_capture_refund_id(request.payment_id)
    completing = cashier.plan(request, "payment.complete", Fault.PARK_BEFORE)
    failing = cashier.plan(request, "payment.fail", Fault.PARK_BEFORE)
    refunding = cashier.faults.plan(
        refund_workflow_id(refund_id), "gateway.refund", Fault.PARK_BEFORE
    )
    handle = await cashier.start(request)
    await completing.reached.wait()
    await handle.terminate("by hand")
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await payment.request_cancel(tx, request.payment_id)
    await sweep(cashier)
    await asyncio.gather(failing.reached.wait(), refunding.reached.wait())
    await cashier.client.get_workflow_handle(handle.id).terminate("by hand")

    await sweep(cashier)
    status = await ended(cashier, request)
    for parked in (completing, failing, refunding):
        parked.release.set()

    assert status == "CANCELLED"
    await eventually_clean(cashier)
    assert len((await cashier.billing.book(request.payment_id))["refunds"]) == 1


async def test_the_sweeper_may_be_the_first_to_give_a_late_capture_back(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    request = await cashier.prepare(0, 2000, gateway=name, waits=BRISK)
    recorded = cashier.plan(request, "payment.record_late_capture", Fault.PARK_AFTER)
    refunding = cashier.faults.plan(
        refund_workflow_id(late_capture_refund_id(request.payment_id)),
        "gateway.refund",
        Fault.PARK_BEFORE,
    )
    handle = await cashier.start(request)
    await until(cashier, request, "FAILED")
    line.requests_arrive = True
    await line.deliver_late(line.sent[0])
    await recorded.reached.wait()

    await sweep(cashier)
    await refunding.reached.wait()
    recorded.release.set()

    assert (await handle.result()).status == "FAILED"
    refunding.release.set()
    await eventually_clean(cashier)


async def test_a_refund_that_was_never_started_is_given_once(cashier: Cashier) -> None:
    """Its reason is the caller's own words: even those that we use ourselves."""
    billing = cashier.billing
    await billing.top_up(5000)
    paid = await billing.pay(await billing.order(3000), "SPLIT", walletAmount=1000)
    forgotten = RefundRequest(
        refund_id=new_id(),
        payment_id=paid["id"],
        customer_id=billing.customer_id,
        currency="KRW",
        card_amount=2000,
        wallet_amount=500,
        gateway="simulator",
        reason=LATE_CAPTURE,
    )
    async with billing.database.begin(SYSTEM) as tx:
        await payment.reserve_refund(tx, forgotten)
        assert await refund.create(tx, forgotten)

    await sweep(cashier)

    handle = cashier.client.get_workflow_handle(refund_workflow_id(forgotten.refund_id))
    await handle.result()
    assert await billing.balance() == (4500, 0)
    await assert_clean_slate(billing)


async def test_a_completed_payment_that_is_reset_changes_nothing(cashier: Cashier) -> None:
    """An operator resets the workflow to its beginning: every step is run again, nothing moves."""
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(*SPLIT)
    handle = await cashier.start(request)
    assert (await handle.result()).status == "COMPLETED"
    first_task = next(
        event.event_id
        for event in (await handle.fetch_history()).events
        if event.HasField("workflow_task_completed_event_attributes")
    )

    answer = await cashier.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=cashier.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            reason="by hand",
            workflow_task_finish_event_id=first_task,
            request_id=new_id(),
        )
    )

    again = cashier.client.get_workflow_handle(
        handle.id, run_id=answer.run_id, result_type=PaymentOutcome
    )
    assert (await again.result()).status == "COMPLETED"
    assert len((await cashier.billing.book(request.payment_id))["payments"]) == 1
    await assert_clean_slate(cashier.billing)


async def test_a_sweep_that_fails_is_not_the_last_one(cashier: Cashier, settings: Settings) -> None:
    """Without a sweeper nothing that lost its owner would ever be found again."""
    address = make_url(settings.database_url).set(database="no_such_database")
    every = timedelta(milliseconds=10)
    with capture_logs() as lines:
        async with (
            connected(address.render_as_string(hide_password=False)) as nowhere,
            meanwhile(
                sweeper.sweep_for_ever(cashier.client, nowhere, Terms(WAITS), every)
            ) as sweeping,
        ):

            async def failed_again() -> bool:
                failed = [line for line in lines if "sweep failed" in line["event"]]
                return sweeping.done() or len(failed) > 1

            await eventually(failed_again)
            assert not sweeping.done(), sweeping.exception()


async def test_what_an_ended_payment_still_holds_is_given_back(cashier: Cashier) -> None:
    """No workflow leaves any of this; a fault that nobody thought of might."""
    await cashier.billing.top_up(5000)
    goods = await cashier.goods()
    before = await cashier.holdings(goods)
    request = await cashier.prepare(1000, 2000, number=DECLINED_CARD, goods=goods)
    database = cashier.billing.database
    await CouponActivities(database).use(request)
    await OrderActivities(database).apply_coupon(request)
    await InventoryActivities(database).reserve(request)
    await WalletActivities(database).hold(request)
    await PointsActivities(database).deduct(request)
    declined = {Operation.CHARGE: GatewayAnswer(GatewayStatus.DECLINED)}
    await PaymentActivities(database).fail(
        FailedPayment(request, PaymentStatus.FAILED, "declined", "for the test", answers=declined)
    )
    assert await cashier.holdings(goods) != before

    with capture_logs() as logs:
        await sweep(cashier)
    with capture_logs() as logs_of_the_next:
        await sweep(cashier)

    assert await cashier.holdings(goods) == before
    told = {"log_level": "warning", "payment_id": request.payment_id}
    event = "an ended payment held something: it was given back"
    assert {**told, "event": event} in logs
    assert not [line for line in logs_of_the_next if line.get("payment_id") == request.payment_id]
    await assert_clean_slate(cashier.billing)


async def test_what_a_completed_payment_holds_is_reported_and_left(cashier: Cashier) -> None:
    cashier.billing.leaves_residue()
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(wallet=1000)
    await cashier.pay(request)
    hold = Hold(request.payment_id, request.customer_id, "POINT", 5)
    await cashier.billing.give_points(5)
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await wallet.hold(tx, hold)

    with capture_logs() as logs:
        await sweep(cashier)

    event = "a completed payment still holds something"
    assert {"log_level": "error", "payment_id": request.payment_id, "event": event} in logs
    async with cashier.billing.database.begin(SYSTEM) as tx:
        assert await wallet.hold_state(tx, hold) == "HELD"
        assert await wallet.release(tx, hold)
