"""A gateway that authorizes first and captures at the pivot: what is told, and what is let go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.payment import PaymentOutcome, PaymentRequest
from domain.review import Outcome, Resolution
from domain.terms import Terms
from domain.workflow_id import payment_workflow_id
from runtime import sweeper
from tests.support.cashier import TWO_CALLS, WAITS, Cashier
from tests.support.clean_slate import assert_clean_slate
from tests.support.faults import Fault
from tests.workflows.test_pursuit import BRISK, until
from workflows.payment_saga import PaymentSaga

SPLIT = (1000, 2000)
VOIDS_DECLINED = "4000000000020000"


async def steps(cashier: Cashier, request: PaymentRequest) -> dict[str, str]:
    """The steps as the order shows them."""
    order = await cashier.billing.get(f"/api/v1/orders/{request.payable_id}")
    return {step["step"]: step["state"] for step in order["steps"]}


async def attempts(cashier: Cashier, request: PaymentRequest) -> dict[str, str | None]:
    """The outcome of each request at the PG, as the payment shows it."""
    found = await cashier.billing.get(f"/api/v1/payments/{request.payment_id}")
    return {attempt["operation"]: attempt["outcome"] for attempt in found["attempts"]}


async def second_run(cashier: Cashier, request: PaymentRequest) -> PaymentOutcome:
    """Let the sweeper start the payment again, and wait for its end."""
    made_before = datetime.now(UTC) + timedelta(seconds=1)
    await sweeper.sweep(cashier.client, cashier.billing.database, Terms(request.waits), made_before)
    workflow_id = payment_workflow_id(request.payment_id)
    handle = cashier.client.get_workflow_handle(workflow_id, result_type=PaymentOutcome)
    outcome: PaymentOutcome = await handle.result()
    return outcome


async def test_both_calls_are_told_when_the_payment_completes(cashier: Cashier) -> None:
    await cashier.billing.top_up(1000)
    request = await cashier.prepare(*SPLIT, gateway=TWO_CALLS)

    outcome = await cashier.pay(request)

    assert outcome.status == "COMPLETED"
    assert await steps(cashier, request) == {
        "wallet.hold": "DONE",
        "gateway.authorize": "DONE",
        "gateway.capture": "DONE",
        "payment.complete": "DONE",
    }
    assert await attempts(cashier, request) == {"authorize": "AUTHORIZED", "capture": "CAPTURED"}
    await assert_clean_slate(cashier.billing)


async def test_an_authorization_found_after_a_lost_answer_does_not_stay_unknown(
    cashier: Cashier,
) -> None:
    await cashier.billing.top_up(1000)
    request = await cashier.prepare(*SPLIT, gateway=TWO_CALLS)
    await cashier.misbehave(request, "lose-answer", operation="charge")

    assert (await cashier.pay(request)).status == "COMPLETED"

    assert (await steps(cashier, request))["gateway.authorize"] == "DONE"
    await assert_clean_slate(cashier.billing)


async def test_a_capture_that_was_never_asked_for_is_shown_so(cashier: Cashier) -> None:
    """The points were spent elsewhere when the card had been authorized."""
    goods = await cashier.goods()
    request = await cashier.prepare(0, 2000, gateway=TWO_CALLS, goods=goods)
    other = await cashier.billing.order_of("SKU-1", goods.points, points=goods.points)
    assert (await cashier.billing.pay(other["id"], "WALLET"))["status"] == "COMPLETED"

    outcome = await cashier.pay(request)

    assert (outcome.status, outcome.failure_code) == ("FAILED", "insufficient-points")
    assert await attempts(cashier, request) == {"authorize": "VOIDED", "capture": "NOT_SENT"}


@pytest.mark.parametrize("lost", ["nothing", "authorize", "void"])
async def test_a_declined_capture_lets_the_authorization_go(cashier: Cashier, lost: str) -> None:
    await cashier.billing.top_up(1000)
    request = await cashier.prepare(*SPLIT, gateway=TWO_CALLS)
    await cashier.misbehave(request, "decline", operation="capture")
    if lost != "nothing":
        operation = "charge" if lost == "authorize" else lost
        await cashier.misbehave(request, "lose-answer", operation=operation)

    outcome = await cashier.pay(request)

    assert (outcome.status, outcome.failure_code) == ("FAILED", "declined")
    assert await steps(cashier, request) == {
        "wallet.hold": "UNDONE",
        "gateway.authorize": "UNDONE",
        "gateway.capture": "REFUSED",
        "payment.fail": "DONE",
    }
    assert await attempts(cashier, request) == {"authorize": "VOIDED", "capture": "DECLINED"}
    [authorized] = (await cashier.billing.book(request.payment_id))["payments"]
    assert authorized["status"] == "VOIDED"
    await assert_clean_slate(cashier.billing)


async def test_an_authorization_that_cannot_be_voided_waits_for_a_person(cashier: Cashier) -> None:
    await cashier.billing.top_up(1000)
    request = await cashier.prepare(*SPLIT, number=VOIDS_DECLINED, gateway=TWO_CALLS)
    await cashier.misbehave(request, "decline", operation="capture")
    handle = await cashier.start(request)
    await until(cashier, request, "NEEDS_REVIEW")

    assert (await steps(cashier, request))["gateway.authorize"] == "NEEDS_REVIEW"
    await handle.execute_update(PaymentSaga.resolve, Resolution(Outcome.VOIDED, "it lapsed"))

    assert (await handle.result()).status == "FAILED"
    assert (await steps(cashier, request))["gateway.authorize"] == "UNDONE"
    await assert_clean_slate(cashier.billing)


async def test_a_run_after_the_void_finds_it_and_ends(cashier: Cashier) -> None:
    await cashier.billing.top_up(1000)
    waits = replace(BRISK, ladder=BRISK.ladder[:3])
    request = await cashier.prepare(*SPLIT, gateway=TWO_CALLS, waits=waits)
    await cashier.misbehave(request, "decline", operation="capture")
    parked = cashier.plan(request, "payment.fail", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()
    await handle.terminate("by hand")

    outcome = await second_run(cashier, request)
    parked.release.set()

    assert outcome.status == "FAILED"
    await assert_clean_slate(cashier.billing)


async def test_a_run_after_the_capture_finds_it_though_nothing_may_be_sent_again(
    cashier: Cashier,
) -> None:
    await cashier.billing.top_up(1000)
    request = await cashier.prepare(*SPLIT, gateway=TWO_CALLS)
    parked = cashier.plan(request, "payment.complete", Fault.PARK_BEFORE)
    handle = await cashier.start(request)
    await parked.reached.wait()
    await handle.terminate("by hand")

    late = replace(request, waits=replace(WAITS, resend_window=timedelta(0)))
    outcome = await second_run(cashier, late)
    parked.release.set()

    assert outcome.status == "COMPLETED"
    await assert_clean_slate(cashier.billing)
