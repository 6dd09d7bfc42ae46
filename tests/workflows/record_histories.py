"""Records the histories that test_replay.py replays. Run by hand, after a change of a workflow that
is meant to change its history and that no running workflow can meet:

    python -m pytest tests/workflows/record_histories.py

What is recorded names neither this machine nor its paths.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from domain.access import SYSTEM
from domain.approval import ApprovalPolicy, Verdict
from domain.dead_letter import JobRequest, Operation, Wanted
from domain.gateway_health import HINTS_A_SECOND, HurryRequest
from domain.invoice import Closing
from domain.period import Period
from domain.review import Outcome, Resolution
from domain.run import RunRequest
from domain.workflow_id import OUTBOX_WORKFLOW_ID, gateway_hurry_workflow_id
from gateway.client import PaymentGateway
from runtime.schedules import MONTHLY
from runtime.settings import Settings
from runtime.workers import payments_worker, running
from service.starts import (
    start_dead_letter_job,
    start_gateway_hurry,
    start_refund,
    start_relay,
    start_settlement_run,
)
from store import dead_letter_job
from store.database import Database
from tests.support.audit import SOMEBODY
from tests.support.billing import GOOD_CARD, Billing
from tests.support.cashier import TWO_CALLS, WAITS, Cashier
from tests.support.conditions import eventually
from tests.support.dunning import HARD_DECLINE, SOFT_DECLINE, Dunning, brisk, closes
from tests.support.faults import Fault, FaultInjector
from tests.support.letters import many
from tests.support.months import ASKS, Months
from tests.support.samples import new_customer, new_id
from tests.support.sealing import OLD, SEALED, connected, with_keys
from tests.support.tenants import tenants
from tests.workflows.conftest import Connections
from tests.workflows.test_days import MonthThatPasses, leaping_server
from tests.workflows.test_gateway_hurry import waiting
from tests.workflows.test_pursuit import (
    BRISK,
    PATIENT,
    SPLIT,
    UNDECIDABLE,
    WATCHED,
    happened,
    until,
)
from tests.workflows.test_refund_saga import a_paid_order
from workflows import policies
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement
from workflows.payment_saga import PaymentSaga
from workflows.refund_saga import RefundSaga
from workflows.settlement_schedule import ScheduledSettlement

HISTORIES = Path(__file__).parent / "histories"

DECLINED_CARD = "4000000000000002"


async def record(name: str, handle: WorkflowHandle[Any, Any], *, ended: bool = True) -> None:
    if ended:
        await handle.result()
    history = _anonymous(json.loads((await handle.fetch_history()).to_json()))
    kept = {"workflowId": handle.id, **history}
    HISTORIES.mkdir(exist_ok=True)
    (HISTORIES / f"{name}.json").write_text(json.dumps(kept, separators=(",", ":")) + "\n")


def _anonymous(value: Any) -> Any:
    here = f"{os.getpid()}@{socket.gethostname()}"
    if isinstance(value, dict):
        return {key: _anonymous(each) for key, each in value.items() if key != "stackTrace"}
    if isinstance(value, list):
        return [_anonymous(each) for each in value]
    return value.replace(here, "worker") if isinstance(value, str) else value


async def test_payments_that_complete(cashier: Cashier, connections: Connections) -> None:
    await cashier.billing.top_up(50_000)
    shapes = {"nothing": (0, 0), "wallet": (3000, 0), "card": (0, 3000), "split": SPLIT}
    for shape, parts in shapes.items():
        handle = await cashier.start(await cashier.prepare(*parts))
        await record(f"payment-completed-{shape}", handle)

    name, line = connections.add()
    line.answers_arrive = False
    found = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK)
    await record("payment-completed-after-asking", await cashier.start(found))
    sent_again = await cashier.prepare(*SPLIT, waits=PATIENT)
    await cashier.misbehave(sent_again, "error-before-effect", operation="charge", times=2)
    await record("payment-completed-after-sending-again", await cashier.start(sent_again))


async def test_a_payment_that_is_sealed(
    cashier: Cashier,
    settings: Settings,
    database: Database,
    gateways: Mapping[str, PaymentGateway],
) -> None:
    await cashier.billing.top_up(5000)
    client = await connected(with_keys(settings, OLD, namespace=SEALED))
    async with running(payments_worker(client, database, gateways)):
        handle = await replace(cashier, client=client).start(await cashier.prepare(*SPLIT))
        await record("payment-completed-sealed", handle)


async def test_payments_that_fail(cashier: Cashier, connections: Connections) -> None:
    await cashier.billing.top_up(5000)
    declined = await cashier.prepare(*SPLIT, number=DECLINED_CARD)
    await record("payment-failed-declined", await cashier.start(declined))
    await record("payment-failed-wallet", await cashier.start(await cashier.prepare(9000, 1000)))

    name, line = connections.add()
    line.connects = False
    never_sent = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK)
    await record("payment-failed-never-sent", await cashier.start(never_sent))
    line.connects, line.requests_arrive = True, False
    lost = await cashier.prepare(*SPLIT, gateway=name, waits=WATCHED)
    await record("payment-failed-watched", await cashier.start(lost))
    late = await cashier.prepare(*SPLIT, gateway=name, waits=BRISK)
    handle = await cashier.start(late)
    await until(cashier, late, "FAILED")
    line.requests_arrive = True
    await line.deliver_late(line.sent[-1])
    await record("payment-failed-captured-late", handle)


async def test_payments_in_review(cashier: Cashier, connections: Connections) -> None:
    await cashier.billing.top_up(5000)
    for outcome in (Outcome.CAPTURED, Outcome.FAILED, None):
        name, line = connections.add()
        line.answers_arrive = line.inquiries_work = False
        waits = replace(UNDECIDABLE, key_window=WATCHED.key_window)
        request = await cashier.prepare(*SPLIT, gateway=name, waits=waits)
        handle = await cashier.start(request)
        await until(cashier, request, "NEEDS_REVIEW")
        line.inquiries_work = True
        if outcome is None:
            await handle.signal(PaymentSaga.gateway_hint)
        else:
            await handle.execute_update(PaymentSaga.resolve, Resolution(outcome, "seen"))
        await record(f"payment-reviewed-{outcome or 'hint'}", handle)


async def test_payments_cancelled_and_resumed(cashier: Cashier, connections: Connections) -> None:
    await cashier.billing.top_up(5000)
    early = await cashier.prepare(*SPLIT)
    cashier.plan(early, "wallet.hold", Fault.FAIL_BEFORE, times=1_000)
    handle = await cashier.start(early)
    await happened(handle, "timer_started_event_attributes")
    await handle.cancel()
    await record("payment-cancelled", handle)

    too_late = await cashier.prepare(*SPLIT)
    parked = cashier.plan(too_late, "gateway.charge", Fault.PARK_BEFORE)
    handle = await cashier.start(too_late)
    await parked.reached.wait()
    await handle.cancel()
    parked.release.set()
    await record("payment-completed-though-cancelled", handle)

    again = await cashier.prepare(*SPLIT, number=DECLINED_CARD)
    parked = cashier.plan(again, "payment.fail", Fault.PARK_BEFORE)
    handle = await cashier.start(again)
    await parked.reached.wait()
    await handle.terminate("by hand")
    await record("payment-failed-in-a-second-run", await cashier.start(again))
    parked.release.set()


async def test_orders_with_everything(cashier: Cashier) -> None:
    await cashier.billing.top_up(50_000)
    paid = await cashier.prepare(*SPLIT, goods=await cashier.goods())
    await record("payment-order-completed", await cashier.start(paid))
    declined = await cashier.prepare(*SPLIT, number=DECLINED_CARD, goods=await cashier.goods())
    await record("payment-order-undone", await cashier.start(declined))

    captured = await cashier.prepare(*SPLIT, gateway=TWO_CALLS, goods=await cashier.goods())
    await record("payment-order-two-calls-captured", await cashier.start(captured))
    voided = await cashier.prepare(*SPLIT, gateway=TWO_CALLS, goods=await cashier.goods())
    await cashier.misbehave(voided, "decline", operation="capture")
    await record("payment-order-two-calls-voided", await cashier.start(voided))

    goods = await cashier.goods()
    stuck = await cashier.prepare(*SPLIT, number=DECLINED_CARD, goods=goods)
    parked = cashier.plan(stuck, "gateway.charge", Fault.PARK_AFTER)
    handle = await cashier.start(stuck)
    await parked.reached.wait()
    await cashier.billing.put_stock(5, goods.sku, withdrawn=True)
    parked.release.set()
    await record("payment-order-stock-withdrawn", handle)


async def test_refunds(cashier: Cashier, connections: Connections) -> None:
    name, line = connections.add()
    paid = await a_paid_order(replace(cashier, waits=BRISK), gateway=name)
    for shape, parts in {"card": (200, 0), "wallet": (0, 100), "split": (200, 100)}.items():
        request = await cashier.prepare_refund(paid, *parts)
        await record(f"refund-completed-{shape}", await start_refund(cashier.client, request))

    line.answers_arrive = False
    request = await cashier.prepare_refund(paid, 200)
    await record("refund-completed-after-asking", await start_refund(cashier.client, request))
    line.requests_arrive = False
    request = await cashier.prepare_refund(paid, 200)
    handle = await start_refund(cashier.client, request)

    async def in_review() -> bool:
        found = await cashier.billing.get(f"/api/v1/refunds/{request.refund_id}")
        return bool(found["status"] == "NEEDS_REVIEW")

    await eventually(in_review)
    await handle.execute_update(RefundSaga.resolve, Resolution(Outcome.FAILED, "not seen"))
    await record("refund-reviewed-failed", handle)

    paid = await a_paid_order(cashier, number="4000000000019002")
    declined = await cashier.prepare_refund(paid, 500)
    await record("refund-failed-declined", await start_refund(cashier.client, declined))


async def test_invoices(dunning: Dunning, connections: Connections) -> None:
    paid = await dunning.issue()
    await record("invoice-paid", await dunning.start(paid))
    await record("invoice-nothing-owed", await dunning.start(await dunning.issue(0)))

    name, line = connections.add()
    line.requests_arrive = False
    await dunning.add_card(name)
    late = await dunning.issue(waits=BRISK)
    owner = await dunning.start(late)
    await dunning.failed(late)
    await dunning.billing.add_card(GOOD_CARD)
    await owner.execute_update(InvoiceRetry.pay, None)
    line.requests_arrive = True
    await line.deliver_late(line.sent[-1])
    await record("invoice-paid-before-a-late-capture", owner)

    await dunning.billing.add_card(SOFT_DECLINE)
    short = brisk(0.5, 1)
    exhausted = await dunning.issue(due_in=timedelta(seconds=0.7), dunning=short)
    owner = await dunning.start(exhausted)
    await dunning.given_up(exhausted)
    await owner.execute_update(InvoiceRetry.close, closes(Closing.WRITE_OFF))
    await record("invoice-exhausted", owner)
    retried = await dunning.issue(dunning=brisk(0.5, 1.5))
    owner = await dunning.start(retried)
    await dunning.failed(retried, step=1)
    await dunning.billing.add_card(GOOD_CARD)
    await record("invoice-retried-and-paid", owner)

    await dunning.billing.add_card(HARD_DECLINE)
    for how in Closing:
        owed = await dunning.issue(dunning=brisk(0.3, 100))
        owner = await dunning.start(owed)
        await dunning.failed(owed, step=1)
        await owner.execute_update(InvoiceRetry.close, closes(how))
        await record(f"invoice-declined-for-good-{how}", owner)


async def test_settlements(months: Months) -> None:
    await months.price(charges=[])
    await months.use(5000)
    poisoned = await months.start()
    with pytest.raises(WorkflowFailureError):
        await poisoned.result()
    await record("settlement-poisoned", poisoned, ended=False)

    await months.price()
    for approved in (False, True):
        running = await months.start(approval=ASKS)
        await months.waiting()
        verdict = Verdict(approved, "seen", "operator-1")
        await running.execute_update(MonthlySettlement.decide, verdict)
        await record(f"settlement-{'approved' if approved else 'rejected'}", running)
    await record("settlement-found", await months.start())
    await record("settlement-skipped", await months.start("2026-03"))
    await months.use(5000, month=4)
    await record("settlement-issued", await months.start("2026-04"))
    await months.use(50_000, month=6)
    soon = ApprovalPolicy(
        remind_after=timedelta(seconds=0.2),
        escalate_after=timedelta(seconds=0.4),
        deadline=timedelta(seconds=0.6),
    )
    await record("settlement-undecided", await months.start("2026-06", approval=soon))


async def test_a_month_that_is_not_over(billing: Billing, faults: FaultInjector) -> None:
    present = Period.containing(datetime.now(UTC), "UTC")
    async with leaping_server(billing, faults, MonthThatPasses(present)) as environment:
        months = Months(billing, environment.client, faults)
        await months.price(flatFee=500)
        await record("settlement-not-over", await months.start(str(present)))


async def test_runs(months: Months) -> None:
    client = months.client
    wanted = await tenants(months.billing.database, "2024-10", 5, poisoned=1)
    request = RunRequest(
        wanted.period, wanted.customers, concurrency=2, per_execution=3, waits=WAITS
    )
    run = await start_settlement_run(client, request)
    await run.result()
    first = client.get_workflow_handle(run.id, run_id=run.result_run_id)
    await record("run-continued-as-new", first, ended=False)
    await record("run-ended", client.get_workflow_handle(run.id))

    nobody = RunRequest("", customers=())
    id_ = f"{MONTHLY}-{uuid4().hex}"
    await record(
        "schedule-started-a-run",
        await client.start_workflow(
            ScheduledSettlement.run, nobody, id=id_, task_queue=policies.SETTLEMENT
        ),
    )


async def test_jobs_over_dead_letters(months: Months) -> None:
    database, client = months.billing.database, months.client
    for name, letters, per_execution in (("letters-done", 3, 1_000), ("letters-of-two", 60, 50)):
        customer_id, job_id = new_customer(), new_id()
        await many(database, letters, customer_id=customer_id)
        wanted = Wanted(customer_id=customer_id)
        async with database.begin(SYSTEM) as tx:
            seen = await dead_letter_job.snapshot(tx)
            what = (Operation.DISCARD, wanted, SOMEBODY, "recorded", seen)
            await dead_letter_job.begin(tx, job_id, *what)
        request = JobRequest(job_id, 1_000, per_execution)
        first = await start_dead_letter_job(client, request)
        await first.result()
        if per_execution < letters:
            run = client.get_workflow_handle(first.id, run_id=first.result_run_id)
            await record("letters-continued-as-new", run, ended=False)
        await record(name, client.get_workflow_handle(first.id))


async def test_those_who_wait_for_a_gateway_are_hurried(
    cashier: Cashier, connections: Connections
) -> None:
    name, line = connections.add()
    line.requests_arrive = False
    _, handles = await waiting(cashier, name, HINTS_A_SECOND + 1)
    hurried = cashier.client.get_workflow_handle(gateway_hurry_workflow_id(name))

    hurry = HurryRequest(name, per_execution=HINTS_A_SECOND)
    await start_gateway_hurry(cashier.client, hurry)
    first = (await hurried.describe()).run_id
    await start_gateway_hurry(cashier.client, hurry)
    await hurried.result()
    run = cashier.client.get_workflow_handle(hurried.id, run_id=first)
    await record("hurry-continued-as-new", run, ended=False)
    line.requests_arrive = True
    await start_gateway_hurry(cashier.client, HurryRequest(name))
    await record("hurry-done", hurried)
    for handle in handles:
        await handle.result()


async def test_a_relay(cashier: Cashier, relays: None) -> None:
    await start_relay(cashier.client)
    handle = cashier.client.get_workflow_handle(OUTBOX_WORKFLOW_ID)

    async def publishing() -> bool:
        description = await handle.describe()
        return bool(description.raw_description.pending_activities)

    await eventually(publishing)
    await record("outbox-relay", handle, ended=False)
