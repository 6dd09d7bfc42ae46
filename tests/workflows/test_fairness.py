"""Of customers who wait in one task queue each gets its turn: the order in which Temporal hands
settlements out that were all queued before anybody asked for one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.client import Client
from temporalio.common import Priority

from dev import process
from dev.temporal import start_in_memory
from domain.settlement import SettlementRequest
from runtime import temporal
from runtime.settings import Settings
from tests.support.conditions import eventually
from workflows import policies, starts
from workflows.monthly_settlement import MonthlySettlement

NOISY = [SettlementRequest("noisy", f"20{year}-01", run="run") for year in range(10, 40)]
QUIET = [SettlementRequest("quiet", f"20{year}-01", run="run") for year in range(10, 14)]
URGENT = [SettlementRequest("urgent", f"20{year}-01") for year in range(10, 12)]
QUEUE = TaskQueue(name=policies.SETTLEMENT)


ONE_PARTITION = {
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}
"""Temporal keeps an order in each partition of a queue, of which there are four otherwise."""


@asynccontextmanager
async def temporal_of_its_own(
    settings: Settings, directory: Path, **more: str
) -> AsyncIterator[Client]:
    """A server where nobody works."""
    port = process.free_port()
    server = start_in_memory(directory, port, {**ONE_PARTITION, **more})
    try:
        await asyncio.to_thread(process.wait_until_ready, [server])
        own = settings.model_copy(update={"temporal_address": f"127.0.0.1:{port}"})
        yield await temporal.connect_when_ready(own)
    finally:
        await asyncio.to_thread(process.stop, [server])


async def queue(client: Client, settlements: Sequence[SettlementRequest], keys: bool) -> None:
    for each in settlements:
        options = starts.of_settlement(each).by_client()
        if not keys:
            priority = options["priority"]
            options["priority"] = Priority(priority_key=priority.priority_key)
        await client.start_workflow(MonthlySettlement.run, each, **options)


async def all_wait(client: Client, count: int) -> None:
    """What was started reaches its queue a moment later."""
    asking = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=QUEUE,
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        report_stats=True,
    )

    async def wait() -> bool:
        found = await client.workflow_service.describe_task_queue(asking)
        return found.stats.approximate_backlog_count == count

    await eventually(wait)


async def handed_out(client: Client, count: int) -> list[str]:
    """Whose settlements a worker gets that does one after the other, in this order."""
    ids: list[str] = []
    asking = PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=QUEUE)
    while len(ids) < count:
        task = await client.workflow_service.poll_workflow_task_queue(asking)
        if not task.task_token:
            continue
        ids.append(task.workflow_execution.workflow_id)
        done = RespondWorkflowTaskCompletedRequest(
            namespace=client.namespace, task_token=task.task_token
        )
        await client.workflow_service.respond_workflow_task_completed(done)
    assert len(set(ids)) == count
    return [each.split("/")[1] for each in ids]


async def noisy_before_the_last_quiet(client: Client, keys: bool) -> int:
    """How many of the noisy customer's settlements, which were all queued first, go before the last
    of the quiet one's. What somebody waits for goes before both."""
    for settlements in (NOISY, QUIET, URGENT):
        await queue(client, settlements, keys)
    everything = len(NOISY) + len(QUIET) + len(URGENT)
    await all_wait(client, everything)

    order = await handed_out(client, everything)

    assert order[: len(URGENT)] == ["urgent"] * len(URGENT), order
    return order[: len(order) - order[::-1].index("quiet")].count("noisy")


async def test_a_customer_does_not_wait_behind_all_of_another(
    settings: Settings, tmp_path: Path
) -> None:
    async with temporal_of_its_own(settings, tmp_path) as client:
        assert await noisy_before_the_last_quiet(client, keys=True) <= len(NOISY) // 2


async def test_without_a_key_it_would(settings: Settings, tmp_path: Path) -> None:
    async with temporal_of_its_own(settings, tmp_path) as client:
        assert await noisy_before_the_last_quiet(client, keys=False) == len(NOISY)


async def test_and_without_the_setting_of_temporal_too(settings: Settings, tmp_path: Path) -> None:
    """Which is off by default: a server that does not have it heeds no key, and says nothing."""
    unfair = {"matching.enableFairness": "false"}
    async with temporal_of_its_own(settings, tmp_path, **unfair) as client:
        assert await noisy_before_the_last_quiet(client, keys=True) == len(NOISY)
