"""The block that undoes: newest first, to the end, and only for failures."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from tests.support.conditions import eventually
from tests.workflows.undoing import Broken, Finishing, Mended, Refused, Waiting
from workflows.saga import Saga

UNDONE = ["first", "second", "second undone", "first undone"]


def a_worker(client: Client, task_queue: str, *workflows: type) -> Worker:
    return Worker(client, task_queue=task_queue, workflows=list(workflows))


async def test_a_run_that_is_thrown_away_undoes_nothing() -> None:
    """As a worker does with those that it forgets, in no loop of a workflow."""
    undone: list[str] = []

    async def undo() -> None:
        undone.append("first")

    async def run() -> None:
        async with Saga() as saga:
            saga.on_failure(undo)
            await asyncio.Future[None]()

    thrown_away = run()
    thrown_away.send(None)
    thrown_away.close()

    assert undone == []


async def test_a_refusal_undoes_newest_first(temporal_client: Client) -> None:
    queue = uuid4().hex
    async with a_worker(temporal_client, queue, Refused):
        handle = await temporal_client.start_workflow(Refused.run, id=queue, task_queue=queue)
        await handle.signal(Refused.go_on)

        assert await handle.result() == [*UNDONE, "ApplicationError"]


async def test_a_cancellation_undoes_all_though_it_comes_twice(temporal_client: Client) -> None:
    queue = uuid4().hex
    async with a_worker(temporal_client, queue, Waiting):
        handle = await temporal_client.start_workflow(Waiting.run, id=queue, task_queue=queue)
        assert await handle.query(Waiting.seen) == ["first", "second"]
        await handle.cancel()
        assert await handle.query(Waiting.seen) == ["first", "second"]
        await handle.cancel()
        await handle.signal(Waiting.go_on)

        assert await handle.result() == [*UNDONE, "CancelledError"]


async def test_a_bug_undoes_nothing_and_waits_for_a_mended_worker(
    temporal_client: Client,
) -> None:
    queue = uuid4().hex
    async with a_worker(temporal_client, queue, Broken):
        handle = await temporal_client.start_workflow(
            Broken.run, id=queue, task_queue=queue, task_timeout=timedelta(seconds=1)
        )
        await eventually(lambda: _a_task_failed(handle))

    async with a_worker(temporal_client, queue, Mended):
        assert await handle.result() == ["first", "second", "past the pivot"]


async def _a_task_failed(handle: WorkflowHandle[Broken, list[str]]) -> bool:
    events = (await handle.fetch_history()).events
    return any(event.HasField("workflow_task_failed_event_attributes") for event in events)


async def test_work_that_must_be_whole_is_not_cancelled(temporal_client: Client) -> None:
    queue = uuid4().hex
    async with a_worker(temporal_client, queue, Finishing):
        handle = await temporal_client.start_workflow(Finishing.run, id=queue, task_queue=queue)
        await handle.cancel()
        await handle.signal(Finishing.go_on)

        assert await handle.result() == "whole"
