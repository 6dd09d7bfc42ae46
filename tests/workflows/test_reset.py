"""A payment whose workflow an operator resets in the Temporal UI: to its begin it is another run
that asks its rows, to a later moment it repeats what its history says. Nothing is taken twice."""

from collections.abc import Mapping
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from domain.payment import PaymentOutcome
from gateway.client import PaymentGateway
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import payments_worker, running
from service.starts import start_payment
from store.database import Database
from tests.support.cashier import Cashier
from tests.support.clean_slate import assert_clean_slate
from tests.support.conditions import patience
from tests.support.faults import Fault, FaultInjector
from tests.workflows.test_killed_worker import elsewhere
from workflows.payment_saga import PaymentSaga

__all__ = ["elsewhere"]

DECLINED_CARD = "4000000000000002"


async def _reset(
    client: Client, handle: WorkflowHandle[PaymentSaga, PaymentOutcome], task: int
) -> PaymentOutcome:
    """Back to the end of its first, second, ... last (-1) workflow task; returns how it ends."""
    history = await handle.fetch_history()
    tasks = [
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=handle.id, run_id=handle.first_execution_run_id or ""
            ),
            reason="by hand",
            workflow_task_finish_event_id=tasks[task],
            request_id=str(uuid4()),
        )
    )
    again = client.get_workflow_handle(handle.id, result_type=PaymentOutcome)
    outcome: PaymentOutcome = await again.result()
    return outcome


async def test_a_completed_payment_that_begins_again_finds_that_it_has_ended(
    cashier: Cashier,
) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(1000, 2000)
    handle = await cashier.start(request)
    assert (await handle.result()).status == "COMPLETED"

    outcome = await _reset(cashier.client, handle, 0)

    assert outcome.status == "COMPLETED"
    calls = cashier.calls(request)
    assert (calls.count("payment.open"), calls.count("gateway.charge")) == (1, 1)
    await assert_clean_slate(cashier.billing)


async def test_a_payment_repeats_its_history_up_to_where_it_is_reset(cashier: Cashier) -> None:
    await cashier.billing.top_up(5000)
    request = await cashier.prepare(1000, 2000)
    handle = await cashier.start(request)
    assert (await handle.result()).status == "COMPLETED"

    outcome = await _reset(cashier.client, handle, -1)

    assert outcome.status == "COMPLETED"
    calls = cashier.calls(request)
    assert (calls.count("payment.open"), calls.count("gateway.charge")) == (0, 1)
    await assert_clean_slate(cashier.billing)


async def test_a_failed_payment_that_begins_again_sends_nothing(cashier: Cashier) -> None:
    request = await cashier.prepare(0, 2000, number=DECLINED_CARD)
    handle = await cashier.start(request)
    assert (await handle.result()).status == "FAILED"

    outcome = await _reset(cashier.client, handle, 0)

    assert outcome.status == "FAILED"
    assert cashier.calls(request).count("gateway.charge") == 1
    await assert_clean_slate(cashier.billing)


async def test_a_reset_run_is_told_apart_by_whoever_works_on_it(
    elsewhere: Settings,
    cashier: Cashier,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
    faults: FaultInjector,
) -> None:
    """This worker remembers nothing: it begins every task of a workflow from its history."""
    client = await temporal.connect_when_ready(elsewhere)
    request = await cashier.prepare(0, 2000)
    parked = cashier.plan(request, "gateway.charge", Fault.PARK_BEFORE)
    config = payments_worker(client, database, gateways, interceptors=(faults,)).config()
    # A client has one worker of a kind.
    config["client"] = await temporal.connect_when_ready(elsewhere)
    config["max_cached_workflows"] = 0
    config["workflow_task_poller_behavior"] = PollerBehaviorSimpleMaximum(5)
    forgetful = Worker(**config)

    async with running(forgetful), patience():
        handle = await start_payment(client, request)
        await parked.reached.wait()
        outcome = await _reset(client, handle, 0)
        parked.release.set()

    assert outcome.status == "COMPLETED"
    calls = cashier.calls(request)
    assert (calls.count("payment.open"), calls.count("gateway.charge")) == (1, 2)
    await assert_clean_slate(cashier.billing)
