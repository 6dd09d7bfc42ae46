"""The owner of an invoice: whatever comes in whatever order, its money is taken once."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy

from domain.invoice import Closing, InvoiceRequest
from domain.workflow_id import invoice_workflow_id, payment_workflow_id
from tests.support.billing import GOOD_CARD
from tests.support.conditions import eventually
from tests.support.dunning import HARD_DECLINE, SOFT_DECLINE, Dunning, brisk, closes
from tests.support.fakes import Line
from tests.workflows.conftest import Connections
from tests.workflows.test_pursuit import BRISK, PATIENT
from workflows import policies
from workflows.invoice_retry import InvoiceRetry


async def a_charge_that_hangs(
    dunning: Dunning, connections: Connections, number: str = GOOD_CARD
) -> Line:
    """The customer's card is at a gateway that nothing reaches until the test says so."""
    name, line = connections.add()
    line.requests_arrive = False
    await dunning.add_card(name, number)
    return line


async def hanging(dunning: Dunning, owed: InvoiceRequest) -> None:
    """Wait until the charge is under way and nobody knows how it ends."""

    async def unknown() -> bool:
        return [each.status for each in await dunning.payments(owed)] == ["UNKNOWN"]

    await eventually(unknown)


async def test_an_invoice_never_paid_is_given_up_after_the_last_step(dunning: Dunning) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue(due_in=timedelta(0), dunning=brisk(0.5, 1, 1.5, 2))
    owner = await dunning.start(owed)

    row = await dunning.given_up(owed)

    assert (row.closed_at, row.next_attempt_at) == (None, None), "it is still owed"
    assert row.issued_at is not None
    assert row.updated_at - row.issued_at >= timedelta(seconds=2)
    assert (await owner.describe()).close_time is None
    assert len(await dunning.payments(owed)) == 5
    assert await dunning.captured(owed) == []
    # Due at once: whatever failed before the last step is told. A due date on the way: test_days.
    assert await dunning.told(owed) == [
        "billing.invoice.overdue",
        *["billing.overdue.notice"] * 4,
        "billing.overdue.notice.DLT",
    ]
    letter = await dunning.buried(owed)
    assert letter is not None
    assert len(json.loads(letter.payload or b"")["attempts"]) == 5
    assert letter.failure_reason == "still not paid after 5 charges: card_declined"
    await owner.execute_update(InvoiceRetry.close, closes(Closing.WRITE_OFF))
    assert (await owner.result()).status == "WRITTEN_OFF"


async def test_what_was_given_up_is_charged_only_when_somebody_asks(dunning: Dunning) -> None:
    await dunning.billing.add_card(HARD_DECLINE)
    owed = await dunning.issue(dunning=brisk(0.1))
    owner = await dunning.start(owed)
    await dunning.given_up(owed)

    await owner.execute_update(InvoiceRetry.pay, None)
    assert (await dunning.given_up(owed)).number is not None
    letter = await dunning.buried(owed)
    assert letter is not None
    assert letter.failure_reason == "still not paid after 1 charge: lost_card"
    card = await dunning.billing.add_card(GOOD_CARD)
    await owner.execute_update(InvoiceRetry.pay, card)

    assert (await owner.result()).status == "PAID"
    assert await dunning.captured(owed) == [5000]
    assert await dunning.told(owed) == ["billing.overdue.notice.DLT", "billing.invoice.paid"]
    letter = await dunning.buried(owed)
    assert letter is not None
    assert letter.state == "RESOLVED"


async def test_a_charge_that_outlasts_its_steps_is_not_followed_by_all_of_them_at_once(
    dunning: Dunning, connections: Connections
) -> None:
    steps = (0.5, 1.0, 1.5)
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue(dunning=brisk(*steps), waits=PATIENT)
    [failed] = dunning.failures(owed, 1)
    await dunning.start(owed)
    await failed.reached.wait()
    line = await a_charge_that_hangs(dunning, connections, SOFT_DECLINE)
    planned_at = (await dunning.row(owed)).next_attempt_at
    assert planned_at is not None
    over = planned_at + timedelta(seconds=2)
    failed.release.set()

    async def every_step_has_passed() -> bool:
        under_way = [each.status for each in await dunning.payments(owed)] == ["FAILED", "UNKNOWN"]
        return under_way and datetime.now(UTC) > over

    await eventually(every_step_has_passed)
    line.requests_arrive = True

    await dunning.given_up(owed)
    tried = await dunning.payments(owed)
    assert len(tried) == 4
    pauses = [after.created_at - before.updated_at for before, after in pairwise(tried)]
    assert min(pauses) > timedelta(seconds=0.2)


async def test_a_soft_decline_climbs_the_ladder_and_a_later_step_is_paid(dunning: Dunning) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue(dunning=brisk(0.5, 1.5))
    once, twice = dunning.failures(owed, 2)
    owner = await dunning.start(owed)
    await once.reached.wait()
    first = await dunning.row(owed)
    once.release.set()
    await twice.reached.wait()
    second = await dunning.row(owed)
    await dunning.billing.add_card(GOOD_CARD)
    twice.release.set()

    assert (await owner.result()).status == "PAID"
    assert (first.retries, second.retries) == (0, 1)
    assert first.next_attempt_at is not None
    assert second.next_attempt_at is not None
    # Or more, when the charge between them outlasted the second step. Exactly: test_days.
    assert second.next_attempt_at - first.next_attempt_at >= timedelta(seconds=1)
    assert [each.status for each in await dunning.payments(owed)] == [
        "FAILED",
        "FAILED",
        "COMPLETED",
    ]
    assert await dunning.captured(owed) == [5000]
    assert await dunning.told(owed) == ["billing.invoice.paid"]


async def test_a_card_declined_for_good_is_not_charged_again_but_a_new_one_is(
    dunning: Dunning,
) -> None:
    await dunning.billing.add_card(HARD_DECLINE)
    owed = await dunning.issue(dunning=brisk(0.1, 0.2))
    once, twice = dunning.failures(owed, 2)
    owner = await dunning.start(owed)

    once.release.set()
    await twice.reached.wait()
    assert len(await dunning.payments(owed)) == 1
    await dunning.billing.add_card(GOOD_CARD)
    twice.release.set()

    assert (await owner.result()).status == "PAID"
    assert len(await dunning.payments(owed)) == 2


async def test_without_any_card_the_ladder_waits_for_one(dunning: Dunning) -> None:
    stranger = replace(dunning.billing, customer_id=f"c-{uuid4().hex}")
    await stranger.api.put(f"/api/v1/customers/{stranger.customer_id}")
    dunning = replace(dunning, billing=stranger)
    owed = await dunning.issue(dunning=brisk(0.1, 0.2))
    once, twice = dunning.failures(owed, 2)
    owner = await dunning.start(owed)
    once.release.set()
    await twice.reached.wait()

    await stranger.add_card(GOOD_CARD)
    twice.release.set()

    assert (await owner.result()).status == "PAID"


async def test_an_invoice_is_paid_at_once(dunning: Dunning) -> None:
    owed = await dunning.issue()

    assert (await (await dunning.start(owed)).result()).status == "PAID"

    assert (await dunning.row(owed)).status == "PAID"
    assert await dunning.captured(owed) == [5000]
    assert await dunning.told(owed) == ["billing.invoice.paid"]


async def test_a_payment_tells_its_owner_by_its_end(dunning: Dunning) -> None:
    """A message more would be a task more of both workflows."""
    owed = await dunning.issue()
    owner = await dunning.start(owed)
    await owner.result()
    [paid] = await dunning.payments(owed)
    payment = dunning.client.get_workflow_handle(payment_workflow_id(paid.id))

    told = [each.WhichOneof("attributes") for each in (await payment.fetch_history()).events]
    heard = [each.WhichOneof("attributes") for each in (await owner.fetch_history()).events]

    assert "signal_external_workflow_execution_initiated_event_attributes" not in told
    assert "workflow_execution_signaled_event_attributes" not in heard
    assert "child_workflow_execution_completed_event_attributes" in heard


async def test_a_prepaid_customer_pays_from_the_wallet_first(dunning: Dunning) -> None:
    billing = dunning.billing
    await billing.api.put(f"/api/v1/customers/{billing.customer_id}", json={"prepaid": True})
    await billing.top_up(3000)
    owed = await dunning.issue()

    await (await dunning.start(owed)).result()

    [paid] = await dunning.payments(owed)
    assert (paid.method, paid.wallet_amount, paid.card_amount) == ("SPLIT", 3000, 2000)
    assert await billing.balance() == (0, 0)
    assert await dunning.captured(owed) == [2000]


async def test_nothing_owed_is_paid_without_a_charge(dunning: Dunning) -> None:
    owed = await dunning.issue(0)

    assert (await (await dunning.start(owed)).result()).status == "PAID"

    assert await dunning.payments(owed) == []
    assert await dunning.booked_outside(owed) == []
    [paid] = await dunning.events(owed)
    assert (paid.topic, paid.data["total"]) == ("billing.invoice.paid", 0)
    assert (paid.data["paymentId"], paid.data["paidOutside"]) == (None, None)


async def test_pay_now_charges_at_once_and_with_a_new_card_that_one(dunning: Dunning) -> None:
    await dunning.billing.add_card(HARD_DECLINE)
    owed = await dunning.issue()
    owner = await dunning.start(owed)
    await dunning.failed(owed)

    # The card was reported lost: nobody gets it charged again.
    await owner.execute_update(InvoiceRetry.pay, None)
    assert len(await dunning.payments(owed)) == 1
    card = await dunning.billing.add_card(GOOD_CARD)
    await owner.execute_update(InvoiceRetry.pay, card)

    assert (await owner.result()).status == "PAID"
    assert await dunning.captured(owed) == [5000]


async def test_a_card_that_does_not_exist_is_forgotten(dunning: Dunning) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue()
    owner = await dunning.start(owed)
    await dunning.failed(owed)
    await owner.execute_update(InvoiceRetry.pay, owed.invoice_id)
    await dunning.billing.add_card(GOOD_CARD)

    await owner.execute_update(InvoiceRetry.pay, None)

    assert (await owner.result()).status == "PAID"


async def test_a_named_card_that_is_declined_for_good_gives_way_to_the_default_one(
    dunning: Dunning,
) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue()
    owner = await dunning.start(owed)
    await dunning.failed(owed)
    lost = await dunning.billing.add_card(HARD_DECLINE)
    await dunning.billing.add_card(GOOD_CARD)

    await owner.execute_update(InvoiceRetry.pay, lost)

    async def lost_card_was_tried() -> bool:
        return [each.status for each in await dunning.payments(owed)] == ["FAILED", "FAILED"]

    await eventually(lost_card_was_tried)
    await owner.execute_update(InvoiceRetry.pay, None)

    assert (await owner.result()).status == "PAID"
    codes = [each.gateway_code for each in await dunning.payments(owed)]
    assert codes == ["card_declined", "lost_card", None]


async def test_a_new_card_that_comes_during_a_charge_is_charged_after_it(
    dunning: Dunning, connections: Connections
) -> None:
    line = await a_charge_that_hangs(dunning, connections, SOFT_DECLINE)
    owed = await dunning.issue(waits=PATIENT)
    owner = await dunning.start(owed)
    await hanging(dunning, owed)

    assert await owner.execute_update(InvoiceRetry.pay, None) == owed.invoice_id
    card = await dunning.billing.add_card(GOOD_CARD)
    accepted = WorkflowUpdateStage.ACCEPTED
    paying = await owner.start_update(InvoiceRetry.pay, card, wait_for_stage=accepted)
    line.requests_arrive = True

    await paying.result()
    assert (await owner.result()).status == "PAID"
    assert [each.status for each in await dunning.payments(owed)] == ["FAILED", "COMPLETED"]


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (Closing.PAID_OUTSIDE, "PAID"),
        (Closing.WRITE_OFF, "WRITTEN_OFF"),
        (Closing.CANCEL, "CANCELLED"),
    ],
)
async def test_a_person_closes_an_invoice_that_waits(
    dunning: Dunning, how: Closing, status: str
) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue()
    owner = await dunning.start(owed)
    await dunning.failed(owed)

    outcome = await owner.execute_update(InvoiceRetry.close, closes(how))

    assert outcome.status == status
    row = await dunning.row(owed)
    assert (row.status, row.next_attempt_at) == (status, None)
    [decision] = row.decisions
    assert (decision["actor"], decision["reason"]) == ("operator-1", "by bank transfer")
    outside = [-5000, 5000] if how is Closing.PAID_OUTSIDE else []
    assert await dunning.booked_outside(owed) == outside
    assert await dunning.captured(owed) == []


@pytest.mark.parametrize("how", list(Closing))
async def test_closing_lets_a_charge_that_is_under_way_end_first(
    dunning: Dunning, connections: Connections, how: Closing
) -> None:
    line = await a_charge_that_hangs(dunning, connections)
    owed = await dunning.issue(waits=PATIENT)
    owner = await dunning.start(owed)
    await hanging(dunning, owed)

    accepted = WorkflowUpdateStage.ACCEPTED
    closing = await owner.start_update(InvoiceRetry.close, closes(how), wait_for_stage=accepted)
    with pytest.raises(WorkflowUpdateFailedError):
        await owner.execute_update(InvoiceRetry.close, closes(Closing.CANCEL))
    with pytest.raises(WorkflowUpdateFailedError):
        await owner.execute_update(InvoiceRetry.pay, None)
    line.requests_arrive = True

    assert (await closing.result()).status == "PAID"
    assert (await dunning.row(owed)).status == "PAID"
    assert await dunning.captured(owed) == [5000]
    assert await dunning.booked_outside(owed) == []
    assert await dunning.told(owed) == ["billing.invoice.paid"]


async def test_closing_is_done_once_the_charge_that_was_under_way_has_failed(
    dunning: Dunning, connections: Connections
) -> None:
    line = await a_charge_that_hangs(dunning, connections, SOFT_DECLINE)
    owed = await dunning.issue(waits=PATIENT)
    owner = await dunning.start(owed)
    await hanging(dunning, owed)

    request, accepted = closes(Closing.PAID_OUTSIDE), WorkflowUpdateStage.ACCEPTED
    closing = await owner.start_update(InvoiceRetry.close, request, wait_for_stage=accepted)
    line.requests_arrive = True

    assert (await closing.result()).status == "PAID"
    assert await dunning.captured(owed) == []
    assert await dunning.booked_outside(owed) == [-5000, 5000]


async def test_an_invoice_closed_before_its_first_charge_is_never_charged(
    dunning: Dunning,
) -> None:
    owed = await dunning.issue()
    starting = WithStartWorkflowOperation(
        InvoiceRetry.run,
        owed,
        id=invoice_workflow_id(owed.invoice_id),
        task_queue=policies.SETTLEMENT,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )

    outcome = await dunning.client.execute_update_with_start_workflow(
        InvoiceRetry.close, closes(Closing.CANCEL), start_workflow_operation=starting
    )

    assert outcome.status == "CANCELLED"
    assert await dunning.payments(owed) == []


async def test_pay_now_meets_the_timer_and_the_money_is_taken_once(dunning: Dunning) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue(dunning=brisk(*(0.2 * step for step in range(1, 40))))
    owner = await dunning.start(owed)
    await dunning.failed(owed)
    card = await dunning.billing.add_card(GOOD_CARD)

    await asyncio.gather(
        *(owner.execute_update(InvoiceRetry.pay, each) for each in [card, None] * 5),
        return_exceptions=True,
    )

    assert (await owner.result()).status == "PAID"
    assert await dunning.captured(owed) == [5000]


async def test_a_capture_that_comes_after_another_attempt_has_paid_goes_back(
    dunning: Dunning, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    await dunning.add_card(name)
    owed = await dunning.issue(waits=BRISK)
    owner = await dunning.start(owed)
    await dunning.failed(owed)
    await dunning.billing.add_card(GOOD_CARD)
    await owner.execute_update(InvoiceRetry.pay, None)
    assert (await owner.result()).status == "PAID"

    line.requests_arrive = True
    await line.deliver_late(line.sent[-1])

    async def given_back() -> bool:
        return await dunning.captured(owed) == [0, 5000]

    await eventually(given_back)
    assert [each.status for each in await dunning.payments(owed)] == ["FAILED", "COMPLETED"]
    assert await dunning.told(owed) == ["billing.invoice.paid"]
