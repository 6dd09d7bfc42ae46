"""Drafts and invoices get their owner back, which goes on where the one before it stopped."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from domain.approval import Verdict
from domain.invoice import Closing, InvoiceOutcome
from domain.period import Period
from domain.terms import Terms
from domain.workflow_id import invoice_workflow_id, settlement_workflow_id
from runtime import sweeper
from store import settlement
from tests.support.billing import GOOD_CARD
from tests.support.cashier import WAITS
from tests.support.conditions import eventually
from tests.support.dunning import SOFT_DECLINE, Dunning, Owner, brisk, closes
from tests.support.faults import Fault
from tests.support.months import ASKS, Months
from tests.workflows.conftest import Connections
from tests.workflows.test_invoice_retry import a_charge_that_hangs, hanging
from tests.workflows.test_pursuit import PATIENT
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement

AGREED = Terms(WAITS)


def latest(dunning: Dunning, owner: Owner) -> Owner:
    """The run that is there now."""
    return dunning.client.get_workflow_handle(owner.id, result_type=InvoiceOutcome)


async def swept_until_it_runs(dunning: Dunning | Months, workflow_id: str) -> None:
    """Temporal's list of what runs is a moment behind: sweep until the owner is there."""

    async def runs() -> bool:
        made_before = datetime.now(UTC) + timedelta(seconds=1)
        await sweeper.sweep(dunning.client, dunning.billing.database, AGREED, made_before)
        described = await dunning.client.get_workflow_handle(workflow_id).describe()
        return described.status is not None and described.status.name in ("RUNNING", "COMPLETED")

    await eventually(runs)


async def test_what_was_given_up_is_not_charged_because_its_owner_is_new(
    dunning: Dunning,
) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue(dunning=brisk(0.1))
    owner = await dunning.start(owed)
    await dunning.given_up(owed)
    await dunning.billing.add_card(GOOD_CARD)

    await owner.terminate("by hand")
    await swept_until_it_runs(dunning, owner.id)
    assert len(await dunning.payments(owed)) == 2
    await latest(dunning, owner).execute_update(InvoiceRetry.pay, None)

    assert (await latest(dunning, owner).result()).status == "PAID"


async def test_a_charge_that_outlasts_its_steps_and_its_owner_is_followed_by_a_pause(
    dunning: Dunning, connections: Connections
) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue(dunning=brisk(0.3, 0.6, 3), waits=PATIENT)
    [failed] = dunning.failures(owed, 1)
    owner = await dunning.start(owed)
    await failed.reached.wait()
    planned_at = (await dunning.row(owed)).next_attempt_at
    assert planned_at is not None
    line = await a_charge_that_hangs(dunning, connections, SOFT_DECLINE)
    failed.release.set()

    async def the_next_step_has_passed() -> bool:
        under_way = [each.status for each in await dunning.payments(owed)] == ["FAILED", "UNKNOWN"]
        return under_way and datetime.now(UTC) > planned_at + timedelta(seconds=1)

    await eventually(the_next_step_has_passed)
    await owner.terminate("by hand")
    await dunning.start(owed)
    line.requests_arrive = True

    async def third() -> bool:
        return len(await dunning.payments(owed)) == 3

    await eventually(third)
    _, before, after = await dunning.payments(owed)
    assert after.created_at - before.updated_at > timedelta(seconds=0.2)
    await latest(dunning, owner).execute_update(InvoiceRetry.close, closes(Closing.WRITE_OFF))


async def test_an_invoice_that_never_had_an_owner_is_collected(dunning: Dunning) -> None:
    owed = await dunning.issue()
    made_before = datetime.now(UTC) + timedelta(seconds=1)

    await sweeper.sweep(dunning.client, dunning.billing.database, AGREED, made_before)

    owner = dunning.client.get_workflow_handle(invoice_workflow_id(owed.invoice_id))
    await owner.result()
    assert (await dunning.row(owed)).status == "PAID"
    assert await dunning.captured(owed) == [5000]


async def test_an_owner_ended_on_its_ladder_goes_on_with_it(dunning: Dunning) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue()
    owner = await dunning.start(owed)
    before = await dunning.failed(owed)

    await owner.terminate("by hand")
    await swept_until_it_runs(dunning, owner.id)

    # Nothing is charged before its time, and the ladder has not moved.
    again = latest(dunning, owner)

    async def waits_again() -> bool:
        return dunning.calls(owed).count("invoice.note") == 2

    await eventually(waits_again)
    after = await dunning.row(owed)
    assert (after.retries, after.next_attempt_at) == (before.retries, before.next_attempt_at)
    assert len(await dunning.payments(owed)) == 1
    await dunning.billing.add_card(GOOD_CARD)
    await again.execute_update(InvoiceRetry.pay, None)
    assert (await again.result()).status == "PAID"
    assert await dunning.captured(owed) == [5000]


async def test_an_owner_ended_during_a_charge_finds_it_and_does_not_charge_twice(
    dunning: Dunning, connections: Connections
) -> None:
    line = await a_charge_that_hangs(dunning, connections)
    owed = await dunning.issue(waits=PATIENT)
    owner = await dunning.start(owed)
    await hanging(dunning, owed)

    await owner.terminate("by hand")
    await swept_until_it_runs(dunning, owner.id)
    line.requests_arrive = True

    again = latest(dunning, owner)
    assert (await again.result()).status == "PAID"
    assert len(await dunning.payments(owed)) == 1
    assert await dunning.captured(owed) == [5000]


@pytest.mark.parametrize("fault", [Fault.PARK_BEFORE, Fault.PARK_AFTER])
@pytest.mark.parametrize("step", ["invoice.open", "invoice.note", "invoice.close"])
async def test_ended_in_any_step_it_is_closed_once(
    dunning: Dunning, step: str, fault: Fault
) -> None:
    await dunning.billing.add_card(SOFT_DECLINE)
    owed = await dunning.issue()
    parked = dunning.plan(owed, step, fault)
    owner = await dunning.start(owed)
    closing: list[asyncio.Task[InvoiceOutcome]] = []
    if step == "invoice.close":
        await dunning.failed(owed)
        update = owner.execute_update(InvoiceRetry.close, closes(Closing.PAID_OUTSIDE))
        closing.append(asyncio.create_task(update))
    await parked.reached.wait()

    await owner.terminate("by hand")
    parked.release.set()
    await asyncio.gather(*closing, return_exceptions=True)
    if step == "invoice.close":

        async def closed() -> bool:
            return bool((await dunning.row(owed)).status == "PAID")

        await eventually(closed)
    else:
        await swept_until_it_runs(dunning, owner.id)
        await dunning.failed(owed)
        again = latest(dunning, owner)
        await again.execute_update(InvoiceRetry.close, closes(Closing.PAID_OUTSIDE))

    assert await dunning.booked_outside(owed) == [-5000, 5000]
    assert len(await dunning.payments(owed)) == 1
    assert await dunning.captured(owed) == []
    assert await dunning.told(owed) == ["billing.invoice.paid"]


async def test_a_settlement_ended_while_its_draft_waits_waits_again(months: Months) -> None:
    await months.price()
    await months.use(5000)
    running = await months.start(approval=ASKS)
    draft = await months.waiting()

    await running.terminate("by hand")
    workflow_id = settlement_workflow_id(months.customer_id, "2026-05")
    await swept_until_it_runs(months, workflow_id)

    again = months.client.get_workflow_handle(workflow_id)

    async def decided() -> bool:
        try:
            verdict = Verdict(True, "fine", "operator-1")
            await again.execute_update(MonthlySettlement.decide, verdict)
        except WorkflowUpdateFailedError:
            return False
        return True

    await eventually(decided)
    [row] = await months.invoices()
    assert (row.id, row.number is not None) == (draft.id, True)


@pytest.mark.parametrize("step", ["settlement.draft", "settlement.issue"])
@pytest.mark.parametrize("fault", [Fault.PARK_BEFORE, Fault.PARK_AFTER])
async def test_a_settlement_ended_in_any_step_is_finished(
    months: Months, step: str, fault: Fault
) -> None:
    await months.price()
    await months.use(1000)
    parked = months.plan(step, fault)
    running = await months.start()
    await parked.reached.wait()

    await running.terminate("by hand")
    parked.release.set()

    async def paid() -> bool:
        made_before = datetime.now(UTC) + timedelta(seconds=1)
        await sweeper.sweep(months.client, months.billing.database, AGREED, made_before)
        return [row.status for row in await months.invoices()] == ["PAID"]

    await eventually(paid)
    [row] = await months.invoices()
    assert row.total == 1000
    assert await months.claims() == [row.id]


async def test_a_month_that_waits_for_its_end_gets_its_owner_back(months: Months) -> None:
    period = str(Period.containing(datetime.now(UTC), "UTC"))
    await months.price()
    running = await months.start(period)

    async def waits() -> bool:
        async with months.billing.database.engine.connect() as tx:
            standing = await settlement.find(tx, period, months.customer_id)
        return standing is not None and standing.status == "NOT_OVER"

    await eventually(waits)
    await running.terminate("by hand")

    await swept_until_it_runs(months, running.id)
    await months.client.get_workflow_handle(running.id).terminate("the test is over")
