"""SettlementRun: everybody's month, whatever becomes of some."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from dev import process
from domain.access import SYSTEM
from domain.approval import ApprovalPolicy
from domain.period import Period
from domain.run import Progress, RunRequest
from domain.settlement import SettlementRequest, SettlementStatus
from domain.workflow_id import settlement_run_workflow_id, settlement_workflow_id
from runtime import temporal
from runtime.settings import Settings
from service.starts import start_settlement, start_settlement_run
from store import customer, settlement, usage
from store.database import Database
from tests.support.cashier import WAITS
from tests.support.conditions import eventually, patience
from tests.support.faults import Fault, FaultInjector
from tests.support.namespaces import a_namespace
from tests.support.tenants import Tenants, tenants
from tests.support.usage import event
from tests.workflows.test_pursuit import PATIENT

pytestmark = pytest.mark.usefixtures("settlements")

SOON = timedelta(milliseconds=300)


def request(wanted: Tenants) -> RunRequest:
    """Of these customers only: the database is full of others."""
    return RunRequest(wanted.period, wanted.customers, waits=WAITS, ask_again=SOON)


async def statuses(wanted: Tenants) -> dict[str, str]:
    """How the settlement of each customer stands."""
    async with wanted.database.engine.connect() as tx:
        rows = [await settlement.find(tx, wanted.period, each) for each in wanted.customers]
    return {row.customer_id: row.status for row in rows if row is not None}


def once_each(wanted: Tenants) -> dict[str, list[int]]:
    return {customer_id: [total] for customer_id, total in wanted.totals.items()}


async def test_poisoned_customers_stop_nobody(temporal_client: Client, database: Database) -> None:
    wanted = await tenants(database, "2024-01", 60, poisoned=6)
    run = replace(request(wanted), concurrency=7, per_execution=20)

    handle = await start_settlement_run(temporal_client, run)
    ended = await handle.result()

    assert ended == Progress(total=60, started=60, finished=60)
    assert await wanted.invoiced() == once_each(wanted)
    found = await statuses(wanted)
    assert {each for each, status in found.items() if status == "FAILED"} == set(wanted.poisoned)
    last = await temporal_client.get_workflow_handle(handle.id).describe()
    assert last.run_id != handle.result_run_id, "it never continued as new"
    assert last.history_length < 400


async def test_the_failed_are_settled_by_another_run_once_mended(
    temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2024-02", 4, poisoned=2)
    await (await start_settlement_run(temporal_client, request(wanted))).result()
    await wanted.mend()

    again = await (await start_settlement_run(temporal_client, request(wanted))).result()

    assert again == Progress(total=4, started=4, finished=4)
    assert await wanted.invoiced() == {**once_each(wanted), **{n: [5] for n in wanted.poisoned}}
    assert set((await statuses(wanted)).values()) == {"SETTLED"}


async def test_customers_without_a_price_list_fail_and_say_so(
    temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2001-01", 2)

    ended = await (await start_settlement_run(temporal_client, request(wanted))).result()

    assert ended == Progress(total=2, started=2, finished=2)
    assert set((await statuses(wanted)).values()) == {"FAILED"}


async def test_whoevers_month_is_not_over_is_listed_as_that_and_goes_on_alone(
    temporal_client: Client, database: Database
) -> None:
    """As in the first hours of a month, west of Greenwich; here the month lasts for everybody."""
    wanted = await tenants(database, str(Period.containing(datetime.now(UTC), "UTC")), 3)
    run = await start_settlement_run(temporal_client, replace(request(wanted), concurrency=2))

    assert await run.result() == Progress(total=3, started=3, finished=3)
    again = await start_settlement_run(temporal_client, request(wanted))
    assert (await again.result()).finished == 3

    assert set((await statuses(wanted)).values()) == {"NOT_OVER"}
    assert await _unsettled(wanted) == {}
    for each in wanted.customers:
        waits = temporal_client.get_workflow_handle(settlement_workflow_id(each, wanted.period))
        described = await waits.describe()
        assert described.status is WorkflowExecutionStatus.RUNNING
        await waits.terminate("the test is over")


async def test_no_run_waits_for_a_person(temporal_client: Client, database: Database) -> None:
    wanted = await tenants(database, "2024-03", 3)
    run = replace(request(wanted), concurrency=1, approval=ApprovalPolicy(thresholds={"KRW": 1}))

    ended = await (await start_settlement_run(temporal_client, run)).result()

    assert ended.finished == 3
    assert set((await statuses(wanted)).values()) == {"AWAITING_APPROVAL"}


async def test_a_run_finds_who_waits_for_a_person_since_before(
    temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2024-04", 2)
    run = replace(request(wanted), approval=ApprovalPolicy(thresholds={"KRW": 1}))
    await (await start_settlement_run(temporal_client, run)).result()

    again = await (await start_settlement_run(temporal_client, run)).result()

    assert again == Progress(total=2, started=2, finished=2)


async def test_a_run_asked_for_again_is_the_same_run(
    temporal_client: Client, database: Database, faults: FaultInjector
) -> None:
    wanted = await tenants(database, "2024-05", 2)
    [first, _] = wanted.customers
    parked = faults.plan(
        settlement_workflow_id(first, wanted.period), "settlement.draft", Fault.PARK_BEFORE
    )
    run = await start_settlement_run(temporal_client, request(wanted))
    await parked.reached.wait()

    again = await start_settlement_run(temporal_client, request(wanted))
    parked.release.set()

    assert again.result_run_id == run.result_run_id
    assert await again.result() == Progress(total=2, started=2, finished=2)
    assert await wanted.invoiced() == once_each(wanted)


async def test_what_failed_before_tells_nothing_of_a_settlement_that_runs(
    temporal_client: Client, database: Database, faults: FaultInjector
) -> None:
    """Started by an operator, so that it does not tell the run either."""
    wanted = await tenants(database, "2024-06", 1, poisoned=1)
    [customer_id] = wanted.customers
    alone = SettlementRequest(customer_id, wanted.period, waits=WAITS)
    with pytest.raises(WorkflowFailureError):
        await (await start_settlement(temporal_client, alone)).result()
    await wanted.mend()
    id_ = settlement_workflow_id(customer_id, wanted.period)
    parked = faults.plan(id_, "settlement.draft", Fault.PARK_BEFORE)
    await start_settlement(temporal_client, alone)

    handle = await start_settlement_run(temporal_client, request(wanted))
    asked = faults.calls[settlement_run_workflow_id(wanted.period, wanted.customers)]

    async def asked_twice() -> bool:
        return asked.count("settlement.ended_among") >= 2

    await eventually(asked_twice)
    under_way = await handle.query("progress", result_type=Progress)
    parked.release.set()

    assert under_way == Progress(total=1, started=1, finished=0)
    assert (await handle.result()).finished == 1
    assert await wanted.invoiced() == {customer_id: [5]}


async def test_a_customer_whose_settlement_was_terminated_is_settled_again(
    temporal_client: Client, database: Database, faults: FaultInjector
) -> None:
    wanted = await tenants(database, "2024-07", 3)
    id_ = settlement_workflow_id(wanted.customers[1], wanted.period)
    parked = faults.plan(id_, "settlement.draft", Fault.PARK_BEFORE)
    run = await start_settlement_run(temporal_client, request(wanted))
    await parked.reached.wait()

    await temporal_client.get_workflow_handle(id_).terminate("by hand")
    parked.release.set()

    assert (await run.result()).finished == 3
    assert await wanted.invoiced() == once_each(wanted)


async def test_customers_that_are_stuck_do_not_fill_the_window(
    temporal_client: Client, database: Database, faults: FaultInjector
) -> None:
    wanted = await tenants(database, "2024-08", 5)
    stuck = [settlement_workflow_id(each, wanted.period) for each in wanted.customers[:2]]
    parked = [faults.plan(each, "settlement.draft", Fault.PARK_BEFORE) for each in stuck]
    run = replace(request(wanted), concurrency=2, patience=SOON)

    ended = await (await start_settlement_run(temporal_client, run)).result()

    assert (ended.started, ended.finished + ended.left_behind) == (5, 5)
    assert ended.left_behind >= 2
    assert set(await _unsettled(wanted)) >= set(wanted.customers[:2])
    for each in parked:
        each.release.set()
    await eventually(lambda: _all_settled(wanted))
    assert await _unsettled(wanted) == {}
    assert await wanted.invoiced() == once_each(wanted)


async def test_a_run_of_a_few_never_stands_for_another(
    temporal_client: Client, database: Database, faults: FaultInjector
) -> None:
    wanted = await tenants(database, "2024-11", 3)
    [first, *others] = wanted.customers
    id_ = settlement_workflow_id(first, wanted.period)
    parked = faults.plan(id_, "settlement.draft", Fault.PARK_BEFORE)
    few = await start_settlement_run(temporal_client, replace(request(wanted), customers=(first,)))
    await parked.reached.wait()

    more = await start_settlement_run(
        temporal_client, replace(request(wanted), customers=tuple(others))
    )

    assert await more.result() == Progress(total=2, started=2, finished=2)
    parked.release.set()
    assert await few.result() == Progress(total=1, started=1, finished=1)
    assert await wanted.invoiced() == once_each(wanted)


async def test_usage_of_a_customer_without_a_plan_is_reported(
    temporal_client: Client, database: Database
) -> None:
    """Nobody could bill it, and nobody would ever know."""
    name = f"unplanned-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        await customer.put(tx, name)
    listed = await _to_be_settled(database)
    async with database.begin(SYSTEM) as tx:
        used = event(name, None, "5", Period.parse("2024-12").starts_at("UTC"))
        await usage.ingest(tx, [used])

    assert name not in listed
    assert name in await _to_be_settled(database)
    run = RunRequest("2024-12", (name,), waits=WAITS, ask_again=SOON)
    await (await start_settlement_run(temporal_client, run)).result()
    async with database.engine.connect() as tx:
        [failed] = [
            row for row in await settlement.unsettled(tx, "2024-12") if row.customer_id == name
        ]
    assert f"{name} has no plan" in (failed.reason or "")


async def test_workers_killed_again_and_again_make_one_invoice_each(
    settings: Settings, database: Database
) -> None:
    """50 customers, each asked for by a run and by 20 callers at once; two workers die of it."""
    elsewhere = settings.model_copy(update={"temporal_namespace": a_namespace("runs")})
    client = await temporal.connect_when_ready(elsewhere)
    wanted = await tenants(database, "2024-09", 50)
    # The charge of a dead worker is sent again, however long another one takes to come.
    run = await start_settlement_run(client, replace(request(wanted), waits=PATIENT))
    requests = [SettlementRequest(each, wanted.period, waits=PATIENT) for each in wanted.customers]

    async with a_worker(elsewhere):
        starts = [_asked_for(client, each) for each in requests for _ in range(20)]
        await asyncio.gather(*starts)
        await eventually(lambda: _at_least(wanted, 5))
    async with a_worker(elsewhere):
        await eventually(lambda: _at_least(wanted, 30))
    async with a_worker(elsewhere):
        ended = await run.result()
        await eventually(lambda: _all_paid(wanted))

    assert ended == Progress(total=50, started=50, finished=50)
    assert await wanted.invoiced() == once_each(wanted)
    assert await wanted.paid() == {each: (1, total) for each, total in wanted.totals.items()}


async def _asked_for(client: Client, request: SettlementRequest) -> None:
    """Where a thousand ask at once, a busy server tells some of them so, and they ask again."""

    async def is_taken() -> bool:
        try:
            await start_settlement(client, request)
        except RPCError as error:
            if error.status is not RPCStatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        return True

    await eventually(is_taken)


@asynccontextmanager
async def a_worker(settings: Settings) -> AsyncIterator[None]:
    """In a process of its own, which is killed at the end of the block."""
    told = settings.model_dump(
        mode="json", exclude_defaults=True, exclude={"gateway_webhook_secret"}
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.settling_worker",
        stdout=PIPE,
        env={
            **process.python_environment(),
            **{name.upper(): str(value) for name, value in told.items()},
        },
    )
    assert worker.stdout is not None
    try:
        async with patience():
            # Temporal's own warnings come here too.
            while (line := await worker.stdout.readline()) != b"ready\n":
                assert line, "the worker has ended"
        # Whoever is not read stands still once the pipe is full.
        rest = asyncio.create_task(worker.stdout.read())
        yield
        worker.kill()
        await rest
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


async def _to_be_settled(database: Database) -> list[str]:
    async with database.engine.connect() as tx:
        return await settlement.customers_after(tx, None, 100_000)


async def _unsettled(wanted: Tenants) -> dict[str, str | None]:
    """Whom the report names, with the reason."""
    async with wanted.database.engine.connect() as tx:
        rows = await settlement.unsettled(tx, wanted.period)
    return {row.customer_id: row.reason for row in rows if row.customer_id in wanted.customers}


async def _all_settled(wanted: Tenants) -> bool:
    found = await statuses(wanted)
    return list(found.values()) == [SettlementStatus.SETTLED] * len(wanted.customers)


async def _at_least(wanted: Tenants, count: int) -> bool:
    return len(await wanted.invoiced()) >= count


async def _all_paid(wanted: Tenants) -> bool:
    return set(await wanted.paid()) == set(wanted.customers)
