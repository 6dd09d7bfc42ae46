"""Which builds of the workers carry which workflows, and which workflows cannot go on.

A workflow whose task fails is not lost: it waits, with all that it has done, for a worker whose
code can go on with it. But it waits for ever, and nobody would know.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    ListWorkerDeploymentsRequest,
)
from temporalio.client import Client, WorkflowExecution
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError

from service.temporal import TemporalUnreachable
from workflows import policies

TIMEOUT_SECONDS = 5.0
SHOWN = 20
_PROBLEMS = SearchAttributeKey.for_keyword_list("TemporalReportedProblems")
_CAUSE = "cause=WorkflowTaskFailedCause"
_RUNNING = "ExecutionStatus = 'Running'"
_FAILING = f"{_RUNNING} AND {_PROBLEMS.name} IS NOT NULL"


class Trouble(StrEnum):
    """Why a workflow cannot go on."""

    TASKS_FAIL = "tasks-fail"
    NO_WORKER = "no-worker"


class State(StrEnum):
    """What a build is for: CURRENT gets whatever begins, RAMPING a part of it, DRAINING goes on
    with what is pinned to it, DRAINED has nothing left, INACTIVE never had anything."""

    CURRENT = "current"
    RAMPING = "ramping"
    DRAINING = "draining"
    DRAINED = "drained"
    INACTIVE = "inactive"


_STATES = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: State.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: State.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: State.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: State.DRAINED,
}


@dataclass(frozen=True)
class Build:
    """Code of a worker. `polled`: whether a worker of it has asked for payments within the last
    minutes. `pinned`: workflows that only this build can go on with."""

    deployment: str
    id: str
    state: State
    polled: bool
    pinned: int = 0


@dataclass(frozen=True)
class StuckWorkflow:
    """`cause` is words for a person."""

    workflow_id: str
    workflow_type: str
    trouble: Trouble
    cause: str


@dataclass(frozen=True)
class Stuck:
    """How many workflows cannot go on, by why, and the first of them."""

    counts: Mapping[Trouble, int]
    first: Sequence[StuckWorkflow] = ()

    @property
    def total(self) -> int:
        return sum(self.counts.values())


async def stuck(client: Client) -> Stuck:
    """Every workflow of the namespace that cannot go on.

    Tasks that fail are known to Temporal after some failures in a row, as its setting
    `system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute` says; that a build has no
    worker, some minutes after its last one. Raises `TemporalUnreachable`.
    """
    async with asking():
        failing = (await client.count_workflows(_FAILING)).count
        found: list[StuckWorkflow] = []
        if failing:
            listed = client.list_workflows(_FAILING, limit=SHOWN)
            found += [_failing(each) async for each in listed]
        alone = 0
        # Most often none: Temporal answers few questions about its list in a second.
        for build in [each for each in await _versions(client) if not each.polled]:
            theirs = _pinned(build.deployment, build.id)
            if left := (await client.count_workflows(theirs)).count:
                alone += left
                listed = client.list_workflows(theirs, limit=SHOWN)
                found += [_left_alone(each, build) async for each in listed]
    return Stuck({Trouble.TASKS_FAIL: failing, Trouble.NO_WORKER: alone}, found[:SHOWN])


async def builds(client: Client) -> list[Build]:
    """Every build that Temporal knows, the newest first. Raises `TemporalUnreachable`."""
    async with asking():
        return [
            replace(
                each, pinned=(await client.count_workflows(_pinned(each.deployment, each.id))).count
            )
            for each in await _versions(client)
        ]


@asynccontextmanager
async def asking() -> AsyncIterator[None]:
    """Temporal is asked in the block, which may take as long as a person waits. Raises
    `TemporalUnreachable`."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except RPCError as error:
        raise TemporalUnreachable(error.message) from error
    except RuntimeError as error:
        raise TemporalUnreachable("there is no connection") from error
    except TimeoutError as error:
        raise TemporalUnreachable(f"no answer within {TIMEOUT_SECONDS:g} s") from error


async def _versions(client: Client) -> list[Build]:
    """Without what is pinned to each."""
    listed = await client.workflow_service.list_worker_deployments(
        ListWorkerDeploymentsRequest(namespace=client.namespace)
    )
    names = [each.name for each in listed.worker_deployments]
    polled = await _polled(client) if names else frozenset()
    return [build for name in names async for build in _of(client, name, polled)]


async def _of(
    client: Client, deployment: str, polled: frozenset[tuple[str, str]]
) -> AsyncIterator[Build]:
    described = await client.workflow_service.describe_worker_deployment(
        DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
    )
    for each in _newest_first(described.worker_deployment_info):
        id_ = each.deployment_version.build_id
        state = _STATES.get(each.status, State.INACTIVE)
        yield Build(deployment, id_, state, (deployment, id_) in polled)


def _newest_first(
    info: WorkerDeploymentInfo,
) -> list[WorkerDeploymentInfo.WorkerDeploymentVersionSummary]:
    return sorted(
        info.version_summaries, key=lambda each: each.create_time.ToNanoseconds(), reverse=True
    )


async def _polled(client: Client) -> frozenset[tuple[str, str]]:
    """The builds of which a worker asks for payments: the others have nothing pinned."""
    told = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=policies.PAYMENTS),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    options = [each.deployment_options for each in told.pollers]
    return frozenset((each.deployment_name, each.build_id) for each in options)


def _pinned(deployment: str, build: str) -> str:
    """Neither name has a quote: `runtime.settings` sees to it for ours."""
    version = f"{deployment}:{build}".replace("'", "")
    return (
        f"{_RUNNING} AND TemporalWorkflowVersioningBehavior = 'Pinned'"
        f" AND TemporalWorkerDeploymentVersion = '{version}'"
    )


def _failing(found: WorkflowExecution) -> StuckWorkflow:
    problems = found.typed_search_attributes.get(_PROBLEMS) or ()
    causes = [each.removeprefix(_CAUSE) for each in problems if each.startswith(_CAUSE)]
    return StuckWorkflow(
        found.id,
        found.workflow_type,
        Trouble.TASKS_FAIL,
        f"its workflow task fails again and again ({', '.join(causes) or 'why is not known'})",
    )


def _left_alone(found: WorkflowExecution, build: Build) -> StuckWorkflow:
    return StuckWorkflow(
        found.id,
        found.workflow_type,
        Trouble.NO_WORKER,
        f"only a worker of build {build.id} can go on with it, and none runs",
    )
