"""Whether this code can go on with what runs: asked before it is released, and changes nothing.

What a workflow has done so far stands in its history. Code that would do anything else there cannot
go on with it: its workflow task would fail again and again.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowHistory,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from runtime.workers import WORKFLOWS

RUNNING = "ExecutionStatus = 'Running'"
AT_ONCE = 10
"""Histories that are fetched side by side."""
_TOLD = re.compile(r'message: "([^"]+)"')


@dataclass(frozen=True)
class Replay:
    """What became of one workflow in this code. `divergence`: where it would do something else, if
    it would. `build`: the only one that will go on with it, if it is pinned to one."""

    workflow_id: str
    workflow_type: str
    divergence: str | None
    build: str | None

    @property
    def stops(self) -> bool:
        """Whether it would stand still after a release of this code."""
        return self.divergence is not None and self.build is None


async def replays(client: Client, workflows: Sequence[type] = WORKFLOWS) -> AsyncIterator[Replay]:
    """Every running workflow of the namespace, each as it was when it was looked at. Raises what
    calls to Temporal raise."""
    replayer = Replayer(
        workflows=workflows,
        namespace=client.namespace,
        data_converter=client.data_converter,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    looked_at: dict[str, WorkflowExecutionDescription] = {}
    histories = _histories(client, looked_at)
    async with replayer.workflow_replay_iterator(histories) as results:
        async for result in results:
            execution = looked_at.pop(result.history.workflow_id)
            yield Replay(
                execution.id,
                execution.workflow_type,
                _divergence(result.replay_failure),
                _build(execution),
            )


async def _histories(
    client: Client, looked_at: dict[str, WorkflowExecutionDescription]
) -> AsyncIterator[WorkflowHistory]:
    batch: list[WorkflowExecution] = []
    async for execution in client.list_workflows(RUNNING):
        batch.append(execution)
        if len(batch) == AT_ONCE:
            for history in await _fetched(client, batch, looked_at):
                yield history
            batch = []
    for history in await _fetched(client, batch, looked_at):
        yield history


async def _fetched(
    client: Client,
    batch: Sequence[WorkflowExecution],
    looked_at: dict[str, WorkflowExecutionDescription],
) -> list[WorkflowHistory]:
    found = await asyncio.gather(*[_history(client, each, looked_at) for each in batch])
    return [each for each in found if each is not None]


async def _history(
    client: Client,
    execution: WorkflowExecution,
    looked_at: dict[str, WorkflowExecutionDescription],
) -> WorkflowHistory | None:
    """None of one that somebody has deleted since it was listed."""
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    try:
        # The list does not always say to which build a workflow is pinned.
        looked_at[execution.id] = await handle.describe()
        return await handle.fetch_history()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


def _build(execution: WorkflowExecutionDescription) -> str | None:
    versioning = execution.raw_info.versioning_info
    pinned = versioning.behavior == VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
    return versioning.deployment_version.build_id if pinned else None


def _divergence(failure: Exception | None) -> str | None:
    if failure is None:
        return None
    text = str(failure).partition("\n")[0]
    # The SDK wraps what it says in a description of its own structures.
    told = next(_TOLD.finditer(text), None)
    return told[1] if told else text
