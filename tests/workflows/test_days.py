"""Days of waiting, as they are by default, on a Temporal whose time leaps from timer to timer.

Each test has a server of its own. None of these workflows is woken before its timer: that server
refuses to cancel a timer that it has just let leap, and the workflow then stands still for ever
(temporalio/sdk-java#3088). What is woken is tested on the real server, with days of a second.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from domain.access import SYSTEM
from domain.approval import DeadlineEffect, Verdict
from domain.invoice import Closing
from domain.period import Period
from domain.settlement import SettlementRequest
from runtime.temporal import register_search_attributes
from runtime.workers import running, settlement_worker
from store import customer
from tests.support.billing import Billing
from tests.support.dunning import Dunning, closes
from tests.support.faults import FaultInjector
from tests.support.months import ASKS, Months
from workflows.invoice_retry import InvoiceRetry
from workflows.monthly_settlement import MonthlySettlement

DAY = timedelta(days=1)
HONOLULU = "Pacific/Honolulu"
SERVER = Path(sys.executable).parent / "temporal-test-server"


class MonthThatPasses(Interceptor):
    """The clock of the database does not leap: a month is drafted once as it is, and over later in
    the shape of the one before it."""

    def __init__(self, month: Period) -> None:
        self._month = str(month)
        self._over = str(month.previous())
        self._seen = False

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Passing(next, self)

    def look(self, settlement: SettlementRequest) -> SettlementRequest:
        period = self._over if self._seen else self._month
        self._seen = True
        return replace(settlement, period=period)


class _Passing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, month: MonthThatPasses) -> None:
        super().__init__(next)
        self._month = month

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if activity.info().activity_type == "settlement.draft":
            input.args = [self._month.look(*input.args)]
        return await self.next.execute_activity(input)


@asynccontextmanager
async def leaping_server(
    billing: Billing, *interceptors: Interceptor
) -> AsyncIterator[WorkflowEnvironment]:
    """A server and a worker for settlements; the database is the real one."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(SERVER), data_converter=pydantic_data_converter
    ) as environment:
        client, runner = environment.client, SandboxedWorkflowRunner()
        await register_search_attributes(client)
        async with running(settlement_worker(client, billing.database, runner, interceptors)):
            yield environment


@pytest.fixture
async def leaping(billing: Billing, faults: FaultInjector) -> AsyncIterator[WorkflowEnvironment]:
    async with leaping_server(billing, faults) as environment:
        yield environment


async def took(handle: WorkflowHandle[Any, Any]) -> timedelta:
    described = await handle.describe()
    assert described.close_time is not None
    return described.close_time - described.start_time


async def decisions(months: Months) -> list[str]:
    [row] = await months.invoices()
    return [each["decision"] for each in row.decisions]


@pytest.fixture
async def months(billing: Billing, leaping: WorkflowEnvironment, faults: FaultInjector) -> Months:
    """A customer's May, which is above its threshold."""
    months = Months(billing, leaping.client, faults)
    await months.price()
    await months.use(5000)
    return months


async def test_nobody_decides_for_seven_days_so_the_draft_is_void(months: Months) -> None:
    running = await months.start(approval=ASKS)

    assert (await running.result()).status == "REJECTED"

    assert ASKS.at_deadline is DeadlineEffect.REJECT
    assert 7 * DAY <= await took(running) < 7.1 * DAY
    assert await decisions(months) == ["reminder", "escalation", "deadline", "not approved"]
    assert await months.claims() == [None]


async def test_a_person_decides_on_the_fifth_day(
    months: Months, leaping: WorkflowEnvironment
) -> None:
    running = await months.start(approval=ASKS)
    await months.waiting()
    await leaping.sleep(4.5 * DAY)

    verdict = Verdict(False, "a test account", "operator-1")
    outcome = await running.execute_update(MonthlySettlement.decide, verdict)

    assert outcome.status == "REJECTED"
    assert 4.5 * DAY <= await took(running) < 5 * DAY
    assert await decisions(months) == ["reminder", "escalation", "not approved"]


async def test_a_month_that_is_not_over_is_settled_at_its_customers_own_midnight(
    billing: Billing, faults: FaultInjector
) -> None:
    """Honolulu's month ends ten hours after that of UTC."""
    present = Period.containing(datetime.now(UTC), HONOLULU)
    async with leaping_server(billing, faults, MonthThatPasses(present)) as environment:
        months = Months(billing, environment.client, faults)
        async with billing.database.begin(SYSTEM) as tx:
            await customer.agree(tx, billing.customer_id, time_zone=HONOLULU)
        await months.price()
        await months.use_at(present.previous().starts_at(HONOLULU), 700)

        running = await months.start(str(present))
        outcome = await running.result()

        assert outcome.status == "SETTLED"
        described = await running.describe()
        assert described.close_time is not None
        midnight = present.ends_at(HONOLULU)
        assert midnight <= described.close_time < midnight + timedelta(minutes=10)
        [row] = await months.invoices()
        assert (row.total, row.number is not None) == (700, True)


async def test_an_invoice_that_no_card_can_pay_is_given_up_after_seven_days(
    billing: Billing, leaping: WorkflowEnvironment, faults: FaultInjector
) -> None:
    stranger = replace(billing, customer_id=f"c-{uuid4().hex}")
    await stranger.api.put(f"/api/v1/customers/{stranger.customer_id}")
    dunning = Dunning(stranger, leaping.client, faults)
    owed = await dunning.issue(due_in=2 * DAY)

    owner = await dunning.start(owed)
    await dunning.failed(owed)
    await leaping.sleep(8 * DAY)

    await dunning.given_up(owed)
    # Due after two days: the steps of the third and the fifth day are told, then it is over.
    assert await dunning.told(owed) == [
        "billing.invoice.overdue",
        "billing.overdue.notice",
        "billing.overdue.notice",
        "billing.overdue.notice.DLT",
    ]
    assert await timers(leaping.client, owner.id) == [1, 1, 1, 2, 2]
    written_off = await owner.execute_update(InvoiceRetry.close, closes(Closing.WRITE_OFF))
    assert written_off.status == "WRITTEN_OFF"


async def timers(client: Client, workflow_id: str) -> list[int]:
    """The days that each timer of a workflow waited for, in order; the due date stands between the
    first step and the second."""
    events = client.get_workflow_handle(workflow_id).fetch_history_events()
    return [
        round(each.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta() / DAY)
        async for each in events
        if each.HasField("timer_started_event_attributes")
    ]
