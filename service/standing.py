"""Where a workflow stands now, as Temporal knows it: what it does and what it waits for."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from temporalio.api.enums.v1 import (
    PendingWorkflowTaskState,
    VersioningBehavior,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import (
    PendingActivityInfo,
    PendingWorkflowTaskInfo,
    WorkflowExecutionVersioningInfo,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.converter import DataConverter, WorkflowSerializationContext
from temporalio.exceptions import FailureError
from temporalio.service import RPCError, RPCStatusCode

from service.temporal import TemporalUnreachable

TIMEOUT_SECONDS = 5.0
_PASSING = frozenset(
    {
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
    }
)
"""How Temporal ends a task that it hands out once more by itself: something came in between."""
RUNNING = "RUNNING"
"""Temporal's word for a workflow that has not ended."""


@dataclass(frozen=True)
class PendingActivity:
    """An activity that runs, or waits for its next attempt."""

    name: str
    summary: str | None
    attempt: int
    last_error: str | None


@dataclass(frozen=True)
class PendingTimer:
    """A wait; without a summary it is the pause before a local step is tried again."""

    summary: str | None
    ends_at: datetime


@dataclass(frozen=True)
class WorkflowStanding:
    """`status` is Temporal's own word: RUNNING, COMPLETED, FAILED, TERMINATED, …

    `task_failure`: why it cannot go on, if its workflow task fails; `waits_for_worker_since`: when
    it came to want a worker, if none has come yet; `build`: the only one whose workers go on with
    it, if it is pinned to one.
    """

    workflow_id: str
    status: str
    activities: tuple[PendingActivity, ...]
    timers: tuple[PendingTimer, ...]
    task_failure: str | None = None
    waits_for_worker_since: datetime | None = None
    build: str | None = None


async def standing(client: Client, workflow_id: str) -> WorkflowStanding | None:
    """Where this workflow stands; None if Temporal has none of this id.

    Raises `TemporalUnreachable`.
    """
    handle = client.get_workflow_handle(workflow_id)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await _standing(client, handle)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise TemporalUnreachable(error.message) from error
    except RuntimeError as error:
        raise TemporalUnreachable("there is no connection") from error
    except TimeoutError as error:
        raise TemporalUnreachable(f"no answer within {TIMEOUT_SECONDS:g} s") from error


async def _standing(client: Client, handle: WorkflowHandle[object, object]) -> WorkflowStanding:
    described = await handle.describe()
    open_ = _Open()
    pending = described.raw_description.pending_activities
    if described.close_time is None:
        async for event in handle.fetch_history_events():
            open_.read(event)
    converter = client.data_converter.with_context(
        WorkflowSerializationContext(client.namespace, handle.id)
    )
    return WorkflowStanding(
        handle.id,
        "UNKNOWN" if described.status is None else described.status.name,
        tuple([await _activity(converter, each, open_) for each in pending]),
        tuple([await _timer(converter, event) for event in open_.timers.values()]),
        await _task_failure(converter, open_.failed_task),
        _unheard_since(described.raw_description.pending_workflow_task),
        _build(described.raw_info.versioning_info),
    )


@dataclass
class _Open:
    """What a history has begun: its timers that still run, and each activity's first event; and its
    last workflow task, if that has failed."""

    timers: dict[int, HistoryEvent] = field(default_factory=dict)
    activities: dict[str, HistoryEvent] = field(default_factory=dict)
    failed_task: HistoryEvent | None = None

    def read(self, event: HistoryEvent) -> None:
        match event.WhichOneof("attributes"):
            case "timer_started_event_attributes":
                self.timers[event.event_id] = event
            case "timer_fired_event_attributes":
                del self.timers[event.timer_fired_event_attributes.started_event_id]
            case "timer_canceled_event_attributes":
                del self.timers[event.timer_canceled_event_attributes.started_event_id]
            case "activity_task_scheduled_event_attributes":
                self.activities[event.activity_task_scheduled_event_attributes.activity_id] = event
            case "workflow_task_failed_event_attributes":
                self.failed_task = event
            case "workflow_task_completed_event_attributes":
                self.failed_task = None


async def _activity(
    converter: DataConverter, pending: PendingActivityInfo, open_: _Open
) -> PendingActivity:
    scheduled = open_.activities.get(pending.activity_id)
    return PendingActivity(
        name=pending.activity_type.name,
        summary=None if scheduled is None else await _summary(converter, scheduled),
        attempt=pending.attempt,
        last_error=await _last_error(converter, pending),
    )


async def _last_error(converter: DataConverter, pending: PendingActivityInfo) -> str | None:
    if not pending.HasField("last_failure"):
        return None
    error = await converter.decode_failure(pending.last_failure)
    return error.message if isinstance(error, FailureError) else str(error)


async def _task_failure(converter: DataConverter, failed: HistoryEvent | None) -> str | None:
    if failed is None:
        return None
    told = failed.workflow_task_failed_event_attributes
    if told.cause in _PASSING:
        return None
    error = await converter.decode_failure(told.failure)
    return error.message if isinstance(error, FailureError) else str(error)


def _unheard_since(task: PendingWorkflowTaskInfo) -> datetime | None:
    if task.state != PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED:
        return None
    return task.original_scheduled_time.ToDatetime(tzinfo=UTC)


def _build(versioning: WorkflowExecutionVersioningInfo) -> str | None:
    pinned = versioning.behavior == VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
    return versioning.deployment_version.build_id if pinned else None


async def _timer(converter: DataConverter, started: HistoryEvent) -> PendingTimer:
    duration = started.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
    began = started.event_time.ToDatetime(tzinfo=UTC)
    return PendingTimer(await _summary(converter, started), began + duration)


async def _summary(converter: DataConverter, event: HistoryEvent) -> str | None:
    """What the workflow says that this is for."""
    if not event.user_metadata.HasField("summary"):
        return None
    [text] = await converter.decode([event.user_metadata.summary], [str])
    return str(text)
