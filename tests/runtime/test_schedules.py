"""The Schedules: when, what, for which month, and with what result."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleOverlapPolicy,
)

from domain.run import RunRequest
from domain.terms import Terms
from domain.verification import Invariant, Moved, Report
from domain.waits import Waits
from domain.workflow_id import settlement_run_workflow_id
from runtime import temporal
from runtime.schedules import CATCH_UP, HOURLY, MONTHLY, ensure_schedules, monthly
from runtime.settings import Settings
from runtime.workers import running, settlement_worker, verification_worker
from service.starts import start_settlement_run
from service.verification import Sources, last, verify
from store.database import Database
from tests.service.test_verification import Shown
from tests.support.conditions import eventually
from tests.support.databases import connected, settings_of_its_own
from tests.support.namespaces import a_namespace
from tests.support.samples import new_id
from tests.workflows.test_starts import Seen, seen
from workflows import policies


@pytest.fixture
async def client(settings: Settings) -> Client:
    """A namespace of its own: there is one Schedule in each."""
    name = a_namespace("schedules")
    elsewhere = settings.model_copy(update={"temporal_namespace": name})
    return await temporal.connect_when_ready(elsewhere)


async def test_several_workers_make_each_schedule_once_and_a_later_one_updates_it(
    client: Client,
) -> None:
    await asyncio.gather(*(ensure_schedules(client, Terms()) for _ in range(5)))
    handle = client.get_schedule_handle(MONTHLY)
    # Temporal applies a pause before an update of the same moment, which then undoes it.
    assert (await handle.describe()).info.last_updated_at is None
    await handle.pause(note="for the audit")

    async def is_paused() -> bool:
        return (await handle.describe()).schedule.state.paused

    async def is_updated() -> bool:
        return (await handle.describe()).info.last_updated_at is not None

    await eventually(is_paused)
    await ensure_schedules(client, Terms(Waits().scaled(2)))
    await eventually(is_updated)

    found = await handle.describe()
    action = found.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    [run] = await client.data_converter.decode(action.args, [RunRequest])
    assert run.waits == Waits().scaled(2)

    async def both_are_listed() -> bool:
        """A list comes to know of them later than they are there."""
        return sorted([each.id async for each in await client.list_schedules()]) == [
            HOURLY,
            MONTHLY,
        ]

    await eventually(both_are_listed)
    assert (found.schedule.state.paused, found.schedule.state.note) == (True, "for the audit")
    assert found.schedule.policy.overlap is ScheduleOverlapPolicy.BUFFER_ALL
    assert found.schedule.policy.catchup_window == CATCH_UP
    next_times = found.info.next_action_times
    assert {(each.day, each.hour, each.minute) for each in next_times} == {(1, 12, 0)}


async def test_a_start_that_is_caught_up_settles_the_month_that_it_was_meant_for(
    client: Client, database: Database
) -> None:
    """2003 has no price list: nobody is charged, whoever is in the database."""
    await ensure_schedules(client, Terms())
    noon = datetime(2003, 3, 1, 12, tzinfo=UTC)

    await client.get_schedule_handle(MONTHLY).backfill(
        ScheduleBackfill(
            start_at=noon - timedelta(minutes=1),
            end_at=noon + timedelta(days=31, minutes=1),
            overlap=ScheduleOverlapPolicy.BUFFER_ALL,
        )
    )

    async def started() -> bool:
        found = client.list_workflows("WorkflowType = 'SettlementRun'")
        return {each.id async for each in found} >= {
            settlement_run_workflow_id("2003-02"),
            settlement_run_workflow_id("2003-03"),
        }

    async with running(settlement_worker(client, database)):
        await eventually(started)


async def test_the_run_of_a_month_is_started_in_one_way(client: Client, database: Database) -> None:
    """By the Schedule or by the client; 2003 has no price list."""
    await ensure_schedules(client, Terms())
    noon = datetime(2003, 3, 1, 12, tzinfo=UTC)

    async with running(settlement_worker(client, database)):
        await client.get_schedule_handle(MONTHLY).backfill(
            ScheduleBackfill(start_at=noon - timedelta(minutes=1), end_at=noon)
        )
        scheduled = await seen(client, settlement_run_workflow_id("2003-02"))
        await start_settlement_run(client, RunRequest("2003-01"))
        wanted = await seen(client, settlement_run_workflow_id("2003-01"))

    assert scheduled == Seen("settlement", "settle 2003-02", {"Period": "2003-02"}, turn_of="")
    assert wanted == Seen("settlement", "settle 2003-01", {"Period": "2003-01"}, turn_of="")


async def test_a_schedule_of_an_older_version_gets_the_time_out(client: Client) -> None:
    old = monthly(Terms())
    assert isinstance(old.action, ScheduleActionStartWorkflow)
    await client.create_schedule(
        MONTHLY, replace(old, action=replace(old.action, task_timeout=timedelta(seconds=10)))
    )

    async def is_updated() -> bool:
        await ensure_schedules(client, Terms())
        action = (await client.get_schedule_handle(MONTHLY).describe()).schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow)
        return action.task_timeout == policies.TASK_TIMEOUT

    await eventually(is_updated)


async def test_every_hour_everything_is_verified_and_the_last_report_is_kept(
    client: Client, settings: Settings
) -> None:
    await ensure_schedules(client, Terms())
    handle = client.get_schedule_handle(HOURLY)
    moments = (await handle.describe()).info.next_action_times
    assert {after - before for before, after in pairwise(moments)} == {timedelta(hours=1)}
    assert await last(client) is None
    stranger = new_id()

    async def reported() -> Report | None:
        return await last(client)

    async with settings_of_its_own(settings) as own, connected(own.database_url) as alone:
        book = Shown([{stranger: {"KRW": Moved(1000)}}])
        sources = Sources(alone, client, (book,), timedelta(0))
        async with running(verification_worker(client, partial(verify, sources))):
            await handle.trigger()
            report = await eventually(reported)

    assert report is not None
    assert {finding.invariant for finding in report.findings} == set(Invariant)
    [violated] = [finding for finding in report.findings if finding.violations]
    assert violated.invariant is Invariant.GATEWAY
    assert [each.id for each in violated.first] == [stranger]
