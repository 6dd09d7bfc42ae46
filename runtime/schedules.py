"""What runs by the clock: the monthly settlement and the hourly verification. Every worker
that settles sees to the Schedules when it starts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.converter import WorkflowSerializationContext

from domain.terms import Terms
from service.temporal import UNREACHABLE
from workflows import starts
from workflows.settlement_schedule import ScheduledSettlement
from workflows.verification import Verification

MONTHLY = "monthly-settlement"
CATCH_UP = timedelta(days=60)
"""How long Temporal may be down and still settle every month that it missed."""
HOURLY = "hourly-verification"

log = structlog.get_logger()


async def ensure_schedules(client: Client, terms: Terms) -> None:
    """Make every Schedule, or bring the one that is there up to date."""
    for id_, wanted in ((MONTHLY, monthly(terms)), (HOURLY, hourly())):
        await _ensure(client, id_, wanted)


async def _ensure(client: Client, id_: str, wanted: Schedule) -> None:
    """That somebody has paused it stays.

    Several workers may do it at once: all of them want the same. One that is up to date is left
    alone: Temporal applies a pause before an update of the same moment, which would undo it.
    """

    async def updated(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
        there = found.description.schedule
        if await _is_up_to_date(client, there, wanted):
            return None
        return ScheduleUpdate(replace(wanted, state=there.state))

    try:
        await client.create_schedule(id_, wanted)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(id_).update(updated)


async def ensure_sooner_or_later(client: Client, terms: Terms) -> None:
    """The same, until Temporal takes it."""
    while True:
        try:
            return await ensure_schedules(client, terms)
        except UNREACHABLE as error:
            log.warning("the schedule is not up to date yet", error=error)
            await asyncio.sleep(5)


def monthly(terms: Terms) -> Schedule:
    """The first of each month, 12:00 UTC: then the month before has ended in every time zone."""
    first_at_noon = ScheduleCalendarSpec(
        hour=(ScheduleRange(12),),
        day_of_month=(ScheduleRange(1),),
        comment="settle the month before",
    )
    return Schedule(
        action=ScheduleActionStartWorkflow(
            ScheduledSettlement.run,
            # The month is not known yet: the workflow puts it in.
            terms.run(period=""),
            **starts.of_scheduled_settlement().by_schedule(),
        ),
        spec=ScheduleSpec(calendars=[first_at_noon]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL, catchup_window=CATCH_UP),
    )


def hourly() -> Schedule:
    """One at a time; what was missed is missed, because the next one looks at everything again."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            Verification.run, **starts.of_verification().by_schedule()
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=10)
        ),
    )


async def _is_up_to_date(client: Client, there: Schedule, wanted: Schedule) -> bool:
    """Whether it does the same at the same times, paused or not."""
    theirs, ours = there.action, wanted.action
    assert isinstance(theirs, ScheduleActionStartWorkflow)
    assert isinstance(ours, ScheduleActionStartWorkflow)
    return (
        (there.spec, there.policy) == (wanted.spec, wanted.policy)
        and (theirs.workflow, theirs.id) == (ours.workflow, ours.id)
        and theirs.task_queue == ours.task_queue
        and (theirs.task_timeout, theirs.priority) == (ours.task_timeout, ours.priority)
        and await _are_as_given(client, theirs, ours.args)
    )


async def _are_as_given(
    client: Client, action: ScheduleActionStartWorkflow, wanted: Sequence[object]
) -> bool:
    """Whether the arguments say the same, sealed under the current key: Schedules outlive keys."""
    context = WorkflowSerializationContext(client.namespace, action.id)
    converter = client.data_converter.with_context(context)
    theirs: Sequence[Payload] = action.args
    ours = await converter.encode(wanted)
    if [each.metadata for each in theirs] != [each.metadata for each in ours]:
        return False
    return await converter.decode(theirs) == await converter.decode(ours)
